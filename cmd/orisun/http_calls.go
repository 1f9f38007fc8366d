package main

import (
	"bytes"
	"context"
	endian "encoding/binary"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	rpc "connectrpc.com/connect"
	"connectrpc.com/vanguard"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
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
	streaming  map[string]bool // by path
	limit      int64           // of a request, in bytes
}

func newHTTPCalls(server *grpc.Server, config GRPCConfig) (*httpCalls, error) {
	c := &httpCalls{streaming: make(map[string]bool), limit: int64(config.MaxReceiveMessageSize)}
	var services []*vanguard.Service
	for name, service := range server.GetServiceInfo() {
		services = append(services, vanguard.NewService(name, tellBegin(server)))
		for _, method := range service.Methods {
			c.streaming["/"+name+"/"+method.Name] = method.IsServerStream
		}
	}
	transcoder, err := vanguard.NewTranscoder(services,
		vanguard.WithDefaultServiceOptions(
			vanguard.WithTargetProtocols(vanguard.ProtocolGRPC), vanguard.WithTargetCodecs(vanguard.CodecProto),
			vanguard.WithMaxMessageBufferBytes(uint32(max(config.MaxReceiveMessageSize, config.MaxSendMessageSize)))),
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
	streams, known := c.streaming[r.URL.Path]
	switch {
	case !known:
		writeError(w, http.StatusNotFound, "unimplemented", "there is no "+strings.ToValidUTF8(r.URL.Path, "?")+"; /openapi.json says what there is")
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		writeError(w, http.StatusMethodNotAllowed, "invalid_argument", "an RPC is called with POST")
	case err != nil || kind != jsonType && !isProtocol(kind):
		writeError(w, http.StatusUnsupportedMediaType, "invalid_argument", "the header Content-Type must be "+jsonType)
	case kind != jsonType || r.Header.Get(connectVersion) != "" && !streams:
		c.transcoder.ServeHTTP(w, r) // gRPC, gRPC-Web or Connect
	case streams:
		c.stream(w, r)
	default:
		r.Header.Set(connectVersion, "1")
		c.transcoder.ServeHTTP(w, r)
	}
}

// stream speaks Connect's streaming protocol in the place of a client that does not: the request becomes one envelope, envelopes become lines.
func (c *httpCalls) stream(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, c.limit))
	if err != nil {
		writeError(w, http.StatusRequestEntityTooLarge, "resource_exhausted", "the request cannot be read: "+err.Error())
		return
	}
	envelope := endian.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))
	out := &lines{to: w, flush: http.NewResponseController(w), header: make(http.Header), kind: ndjsonType}
	if strings.Contains(r.Header.Get("Accept"), serverSentType) {
		out.kind = serverSentType
	}
	inner := r.Clone(context.WithValue(r.Context(), linesKey{}, out))
	inner.Header.Set("Content-Type", streamType)
	inner.Header.Set(connectVersion, "1")
	inner.Header.Del("Accept-Encoding")
	inner.Header.Del("Content-Length")
	inner.Body = io.NopCloser(bytes.NewReader(append(envelope, body...)))
	inner.ContentLength = -1
	c.transcoder.ServeHTTP(out, inner)
}
