package main

import (
	"bytes"
	"context"
	endian "encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	rpc "connectrpc.com/connect"
	"connectrpc.com/vanguard"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/oexza/orisun/service/inflight"
)

const (
	jsonType       = "application/json"
	streamType     = "application/connect+json"
	ndjsonType     = "application/x-ndjson"
	serverSentType = "text/event-stream"

	connectVersion = "Connect-Protocol-Version"
)

// httpCalls answers RPCs by HTTP: the protocols gRPC, gRPC-Web and Connect, and plain JSON, as curl sends it. All of them go through the same gRPC
// server, so credentials, limits, log and errors are those of gRPC.
//
//	curl -u admin:changeit --json '{"boundary":"orders"}' localhost:8991/orisun.EventStore/GetEvents
//
// An RPC that streams answers a JSON object a line (application/x-ndjson), or server-sent events to who accepts text/event-stream. An error
// before the first event is the answer, one after it is the last line, {"error": …}.
type httpCalls struct {
	transcoder http.Handler
	methods    map[string]httpMethod // by path
	door       *door
	timeouts   httpTimeouts
}

// httpMethod is what has to be known of an RPC before it is called.
type httpMethod struct {
	streams bool // its answer
	sends   bool // the client streams
	request protoreflect.MessageDescriptor
}

// httpTimeouts are for how long a client may take to send a request, and to read an answer that is no stream.
type httpTimeouts struct{ read, write time.Duration }

func newHTTPCalls(server *grpc.Server, door *door, config *Config) (*httpCalls, error) {
	c := &httpCalls{methods: make(map[string]httpMethod), door: door, timeouts: httpTimeouts{config.Admin.ReadTimeout, config.Admin.WriteTimeout}}
	var services []*vanguard.Service
	for name, service := range server.GetServiceInfo() {
		services = append(services, vanguard.NewService(name, tellBegin(server)))
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
	transcoder, err := vanguard.NewTranscoder(services,
		vanguard.WithDefaultServiceOptions(
			vanguard.WithTargetProtocols(vanguard.ProtocolGRPC), vanguard.WithTargetCodecs(vanguard.CodecProto),
			vanguard.WithMaxMessageBufferBytes(uint32(max(config.GRPC.MaxReceiveMessageSize, config.GRPC.MaxSendMessageSize)))),
		vanguard.WithCodec(func(resolver vanguard.TypeResolver) vanguard.Codec {
			return jsonCodec{vanguard.JSONCodec{
				MarshalOptions:   protojson.MarshalOptions{Resolver: resolver, EmitDefaultValues: true},
				UnmarshalOptions: protojson.UnmarshalOptions{Resolver: resolver},
			}}
		}))
	if err != nil {
		return nil, err
	}
	c.transcoder = transcoder
	return c, nil
}

// jsonCodec says whose fault a document is that cannot be read. An unknown field is one: it is a name with a slip in it.
type jsonCodec struct{ vanguard.JSONCodec }

// Unmarshal reads a request.
func (c jsonCodec) Unmarshal(data []byte, into proto.Message) error {
	if err := c.JSONCodec.Unmarshal(data, into); err != nil {
		return rpc.NewError(rpc.CodeInvalidArgument, fmt.Errorf("the request is not the JSON of a %s: %w", into.ProtoReflect().Descriptor().Name(), err))
	}
	return nil
}

// isProtocol tells the content types of gRPC, gRPC-Web and Connect.
func isProtocol(kind string) bool {
	return strings.HasPrefix(kind, "application/grpc") || strings.HasPrefix(kind, "application/connect+") || kind == "application/proto"
}

func (c *httpCalls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	method, known := c.methods[r.URL.Path]
	switch {
	case !known:
		writeError(w, http.StatusNotFound, "unimplemented", "there is no "+strings.ToValidUTF8(r.URL.Path, "?")+"; /openapi.json says what there is")
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		writeError(w, http.StatusMethodNotAllowed, "invalid_argument", "an RPC is called with POST")
	case err != nil || kind != jsonType && !isProtocol(kind):
		writeError(w, http.StatusUnsupportedMediaType, "invalid_argument", "the header Content-Type must be "+jsonType)
	default:
		c.call(w, r, kind, method)
	}
}

// call lets a call in, receives its request, and has it answered.
func (c *httpCalls) call(w http.ResponseWriter, r *http.Request, kind string, method httpMethod) {
	ctx, call, err := c.door.enterHTTP(r)
	if err != nil {
		writeStatus(w, err)
		return
	}
	defer call.End()
	defer c.unlimited(w)
	r = r.WithContext(ctx)
	if method.sends { // reflection
		c.transcoder.ServeHTTP(w, r)
		return
	}
	body, err := c.receive(w, r, kind, method, call)
	if err != nil {
		writeStatus(w, err)
		return
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Del("Content-Length")
	switch {
	case kind != jsonType || r.Header.Get(connectVersion) != "" && !method.streams:
		c.transcoder.ServeHTTP(w, r) // gRPC, gRPC-Web or Connect
	case method.streams:
		c.stream(w, r, body)
	default:
		r.Header.Set(connectVersion, "1")
		c.transcoder.ServeHTTP(w, r)
	}
}

// receive reads the body. The error is a gRPC status.
func (c *httpCalls) receive(w http.ResponseWriter, r *http.Request, kind string, method httpMethod, call *inflight.Call) ([]byte, error) {
	connection := http.NewResponseController(w)
	now := time.Now()
	if err := connection.SetReadDeadline(now.Add(c.timeouts.read)); err != nil {
		return nil, status.Errorf(codes.Internal, "limit the time to read a request: %v", err)
	}
	limit := c.door.limit(r.URL.Path)
	if r.ContentLength > int64(limit) {
		return nil, status.Errorf(codes.ResourceExhausted, "the request has %d bytes, at most %d are taken", r.ContentLength, limit)
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

// unlimited leaves the connection to the next request without the times of this one.
func (c *httpCalls) unlimited(w http.ResponseWriter) {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
		return // the connection is gone
	}
}

// stream speaks Connect's streaming protocol in the place of a client that does not: the request becomes one envelope, envelopes become lines.
func (c *httpCalls) stream(w http.ResponseWriter, r *http.Request, body []byte) {
	envelope := endian.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))
	out := &lines{to: w, flush: http.NewResponseController(w), header: make(http.Header), kind: ndjsonType}
	if strings.Contains(r.Header.Get("Accept"), serverSentType) {
		out.kind = serverSentType
	}
	inner := r.Clone(context.WithValue(r.Context(), linesKey{}, out))
	inner.Header.Set("Content-Type", streamType)
	inner.Header.Set(connectVersion, "1")
	inner.Header.Del("Accept-Encoding")
	inner.Body = io.NopCloser(bytes.NewReader(append(envelope, body...)))
	inner.ContentLength = -1
	c.transcoder.ServeHTTP(out, inner)
}
