package httpapi

import (
	"bytes"
	"context"
	endian "encoding/binary"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"connectrpc.com/vanguard"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/transport"
	"github.com/oexza/orisun/service/inflight"
)

const (
	jsonType       = "application/json"
	streamType     = "application/connect+json"
	ndjsonType     = "application/x-ndjson"
	serverSentType = "text/event-stream"

	connectVersion = "Connect-Protocol-Version"
)

// Calls answers RPCs by HTTP: the protocols gRPC, gRPC-Web and Connect, and plain JSON, as curl sends it. All of them
// go through the same gRPC server, so credentials, limits, log and errors are those of gRPC.
//
//	curl -u admin:changeit --json '{"boundary":"orders"}' localhost:8991/orisun.EventStore/GetEvents
//
// An RPC that streams answers with a JSON object per line (application/x-ndjson). A client that accepts
// text/event-stream or calls by GET, as a browser's EventSource does, receives server-sent events (events.go).
// An error before the first event is the answer. An error after it is the last line, {"error": …}.
type Calls struct {
	transcoder http.Handler          // answers data and metadata as texts
	objects    http.Handler          // answers them as JSON objects (documents.go)
	sending    http.Handler          // takes calls whose client streams requests
	methods    map[string]httpMethod // by path
	door       *transport.Door
	timeouts   httpTimeouts
}

// httpMethod describes an RPC as far as a call needs it.
type httpMethod struct {
	streams bool // its answer
	sends   bool // the client streams requests
	request protoreflect.MessageDescriptor
}

// httpTimeouts bound how long a client may take to send a request, and to read an answer that is no stream.
type httpTimeouts struct{ read, write time.Duration }

// NewCalls answers the calls of the services that server has, once door has let them in.
func NewCalls(server *grpc.Server, door *transport.Door, config *config.Config) (*Calls, error) {
	c := &Calls{
		methods: make(map[string]httpMethod), door: door,
		timeouts: httpTimeouts{config.Admin.ReadTimeout, config.Admin.WriteTimeout},
	}
	var services []*vanguard.Service
	for name, service := range server.GetServiceInfo() {
		services = append(services, vanguard.NewService(name, onBegin(server)))
		described, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			return nil, err
		}
		methods := described.(protoreflect.ServiceDescriptor).Methods()
		for _, method := range service.Methods {
			request := methods.ByName(protoreflect.Name(method.Name)).Input()
			c.methods["/"+name+"/"+method.Name] = httpMethod{method.IsServerStream, method.IsClientStream, request}
		}
	}
	// A request is received with its limit before it is transcoded, and gRPC's send limit bounds an answer in protobuf,
	// whose JSON may be larger. Only a stream of requests needs a limit of the transcoder.
	const noLimit = vanguard.DefaultMaxMessageBufferBytes
	for _, made := range []struct {
		to      *http.Handler
		objects bool
		limit   uint32
	}{
		{&c.transcoder, false, noLimit},
		{&c.objects, true, noLimit},
		{&c.sending, false, uint32(max(config.GRPC.MaxReceiveMessageSize, config.GRPC.MaxSendMessageSize))},
	} {
		transcoder, err := vanguard.NewTranscoder(services,
			vanguard.WithDefaultServiceOptions(
				vanguard.WithTargetProtocols(vanguard.ProtocolGRPC), vanguard.WithTargetCodecs(vanguard.CodecProto),
				vanguard.WithMaxMessageBufferBytes(made.limit)),
			vanguard.WithCodec(newJSONCodec(made.objects)))
		if err != nil {
			return nil, err
		}
		*made.to = transcoder
	}
	return c, nil
}

// isProtocol reports whether a content type is that of gRPC, gRPC-Web or Connect.
func isProtocol(kind string) bool {
	return strings.HasPrefix(kind, "application/grpc") || strings.HasPrefix(kind, "application/connect+") ||
		kind == "application/proto"
}

func (c *Calls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	declared := r.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(declared)
	method, known := c.methods[r.URL.Path]
	byGet := r.Method == http.MethodGet && method.streams && !method.sends
	switch {
	case !known:
		writeError(w, http.StatusNotFound, "unimplemented",
			"there is no "+strings.ToValidUTF8(r.URL.Path, "?")+"; /openapi.json says what there is")
	case r.Method != http.MethodPost && !byGet:
		w.Header().Set("Allow", http.MethodPost)
		writeError(w, http.StatusMethodNotAllowed, "invalid_argument",
			"an RPC is called with POST; one that streams with GET, too, for server-sent events")
	case byGet && isCrossOrigin(r):
		writeError(w, http.StatusForbidden, "permission_denied",
			"cross-origin: a page of another site must not open a stream")
	case method.sends && !isProtocol(kind):
		writeError(w, http.StatusUnsupportedMediaType, "invalid_argument",
			r.URL.Path+" streams requests, which takes gRPC. ReadSubscription and Settle do by JSON what Consume does")
	case !byGet && declared != "" && (err != nil || kind != jsonType && !isProtocol(kind)):
		writeContentTypeError(w)
	default:
		c.call(w, r, kind, method)
	}
}

func writeContentTypeError(w http.ResponseWriter) {
	writeError(w, http.StatusUnsupportedMediaType, "invalid_argument", "the header Content-Type must be "+jsonType)
}

// call admits a call, receives its request, and has it answered.
func (c *Calls) call(w http.ResponseWriter, r *http.Request, kind string, method httpMethod) {
	ctx, call, err := c.door.EnterHTTP(r)
	if err != nil {
		writeStatus(w, err)
		return
	}
	defer call.End()
	defer c.unlimited(w)
	r = r.WithContext(ctx)
	if method.sends {
		c.sending.ServeHTTP(w, r)
		return
	}
	body, err := c.receive(w, r, kind, method, call)
	if err != nil {
		writeStatus(w, err)
		return
	}
	if r.Method == http.MethodPost && isProtocol(kind) { // gRPC, gRPC-Web or Connect
		replaceBody(r, body)
		c.transcoder.ServeHTTP(w, r)
		return
	}
	c.answerJSON(w, r, body, kind, method)
}

// answerJSON answers plain JSON, or Connect's. An empty body is an empty request of any type. The service reports
// missing fields.
func (c *Calls) answerJSON(w http.ResponseWriter, r *http.Request, body []byte, kind string, method httpMethod) {
	if r.Method == http.MethodPost && kind == "" && len(body) > 0 {
		writeContentTypeError(w)
		return
	}
	parameters, others := r.URL.Query(), []string(nil)
	streamed := ndjsonType
	if strings.Contains(r.Header.Get("Accept"), serverSentType) {
		streamed = serverSentType
	}
	if r.Method == http.MethodGet {
		body, others, streamed = []byte(parameters.Get("message")), []string{"message"}, serverSentType
	}
	if len(body) == 0 {
		body = []byte("{}")
	}
	transcoder, err := c.transcoderFor(parameters, others...)
	if err == nil && r.Method == http.MethodGet {
		err = method.checkBody(jsonType, body)
	}
	if err == nil && method.streams {
		body, err = resume(r, body)
	}
	if err != nil {
		writeStatus(w, err)
		return
	}
	if method.streams {
		stream(w, r, transcoder, body, streamed)
		return
	}
	r.Header.Set("Content-Type", jsonType)
	if r.Header.Get(connectVersion) == "" {
		r.Header.Set(connectVersion, "1")
	}
	replaceBody(r, body)
	transcoder.ServeHTTP(w, r)
}

func replaceBody(r *http.Request, body []byte) {
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Del("Content-Length")
}

// receive reads the body. The error is a gRPC status.
func (c *Calls) receive(
	w http.ResponseWriter, r *http.Request, kind string, method httpMethod, call *inflight.Call,
) ([]byte, error) {
	connection := http.NewResponseController(w)
	now := time.Now()
	if err := connection.SetReadDeadline(now.Add(c.timeouts.read)); err != nil {
		return nil, status.Errorf(codes.Internal, "limit the time to read a request: %v", err)
	}
	limit := c.door.Limit(r.URL.Path)
	if r.ContentLength > int64(limit) {
		return nil, status.Errorf(codes.ResourceExhausted, "the request has %d bytes, at most %d are taken",
			r.ContentLength, limit)
	}
	body, err := readBody(r, kind, call, limit)
	if err == nil {
		err = method.checkBody(kind, body)
	}
	if err != nil {
		return nil, err
	}
	writeBy := time.Time{}
	if !method.streams {
		writeBy = now.Add(c.timeouts.read + c.timeouts.write)
	}
	if err := errors.Join(connection.SetReadDeadline(time.Time{}), connection.SetWriteDeadline(writeBy)); err != nil {
		return nil, status.Errorf(codes.Internal, "limit the time of an answer: %v", err)
	}
	return body, nil
}

// unlimited resets the connection's deadlines, so that those of this request do not apply to the next one.
func (c *Calls) unlimited(w http.ResponseWriter) {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
		return // the connection is gone
	}
}

// transcoderFor reads the query parameters of a call: its data and the kind of call. The error is a gRPC status.
func (c *Calls) transcoderFor(parameters url.Values, others ...string) (http.Handler, error) {
	for name := range parameters {
		if name != "data" && !slices.Contains(others, name) {
			return nil, status.Errorf(codes.InvalidArgument, "there is no query parameter %q; there are %s",
				name, strings.Join(append(others, "data"), ", "))
		}
	}
	objects, err := answersObjects(parameters["data"])
	if objects {
		return c.objects, err
	}
	return c.transcoder, err
}

// stream speaks Connect's streaming protocol for a client that does not: the request becomes one envelope, envelopes
// become lines.
func stream(w http.ResponseWriter, r *http.Request, transcoder http.Handler, request []byte, kind string) {
	envelope := endian.BigEndian.AppendUint32([]byte{0}, uint32(len(request)))
	out := &lines{to: w, flush: http.NewResponseController(w), header: make(http.Header), kind: kind}
	defer out.end()
	inner := r.Clone(context.WithValue(r.Context(), linesKey{}, out))
	inner.Method = http.MethodPost
	inner.URL.RawQuery = ""
	inner.Header.Set("Content-Type", streamType)
	inner.Header.Set(connectVersion, "1")
	inner.Header.Del("Accept-Encoding")
	inner.Header.Del("Content-Length")
	inner.Body = io.NopCloser(bytes.NewReader(append(envelope, request...)))
	inner.ContentLength = -1
	transcoder.ServeHTTP(out, inner)
}
