package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	endian "encoding/binary"
	"io"
	"net/http"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/service"
	"github.com/oexza/orisun/service/auth"
	"github.com/oexza/orisun/service/inflight"
)

// httpFactor is how many bytes a byte of a message takes that is transcoded: as JSON, decoded, and in protobuf's wire form.
const httpFactor = 3

// httpPeer is where a request by HTTP comes from, in place of gRPC's connection.
type httpPeer string

func (httpPeer) Network() string  { return "tcp" }
func (p httpPeer) String() string { return string(p) }

// enterHTTP finds out who calls by HTTP, before anything of the body is read, and lets the call in when there is room for it. The context carries both.
func (d *door) enterHTTP(r *http.Request) (ctx context.Context, call *inflight.Call, err error) {
	from := &peer.Peer{Addr: httpPeer(r.RemoteAddr)}
	if r.TLS != nil {
		from.AuthInfo = credentials.TLSInfo{State: *r.TLS}
	}
	ctx = peer.NewContext(r.Context(), from)
	authenticated, err := d.auth.AdmitHTTP(ctx, r.URL.Path, r.Header)
	if err != nil {
		// The log and the metrics know it as a call: gRPC does not get to see it.
		_, err = d.unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: r.URL.Path}, func(context.Context, any) (any, error) { return nil, err })
		return nil, nil, err
	}
	if call, err = d.budget.Enter(ctx, auth.CallerOf(authenticated), httpFactor); err != nil {
		return nil, nil, err
	}
	return inflight.NewContext(r.Context(), call), call, nil
}

// enveloped tells the content types whose bodies are messages with a head before each.
func enveloped(kind string) bool {
	return strings.HasPrefix(kind, "application/grpc") || strings.HasPrefix(kind, "application/connect+")
}

// readBody reads a request of at most limit bytes, decompressed. Afterwards its headers say nothing of compression.
func readBody(r *http.Request, kind string, call *inflight.Call, limit int) ([]byte, error) {
	body, err := decompressed(r.Header.Get("Content-Encoding"), r.Body, call, limit)
	if err != nil || !enveloped(kind) || len(body) < messageHeadSize || body[0]&compressedFlag == 0 {
		r.Header.Del("Content-Encoding")
		return body, err
	}
	encoding := r.Header.Get("Grpc-Encoding")
	if strings.HasPrefix(kind, "application/connect+") {
		encoding = r.Header.Get("Connect-Content-Encoding")
	}
	if length := int(endian.BigEndian.Uint32(body[1:])); length != len(body)-messageHeadSize {
		return nil, status.Errorf(codes.InvalidArgument, "the body is not one message: its head says %d bytes, %d follow", length, len(body)-messageHeadSize)
	}
	message, err := decompressed(encoding, bytes.NewReader(body[messageHeadSize:]), call, limit)
	if err != nil {
		return nil, err
	}
	return append(endian.BigEndian.AppendUint32([]byte{body[0] &^ compressedFlag}, uint32(len(message))), message...), nil
}

func decompressed(encoding string, body io.Reader, call *inflight.Call, limit int) ([]byte, error) {
	switch encoding {
	case "", "identity":
		return readLimited(body, call, limit)
	case "gzip":
		from, err := gzip.NewReader(body)
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "the body is not gzip: %v", err)
		}
		return readLimited(from, call, limit)
	default:
		return nil, status.Errorf(codes.InvalidArgument, "the body is compressed by %q; send it by gzip, or as it is", encoding)
	}
}

// checkBody counts the elements of a request in JSON. What is in protobuf's wire form gRPC's door counts.
func (m httpMethod) checkBody(kind string, body []byte) error {
	switch {
	case kind == jsonType:
		return service.CheckJSONElements(m.request, body)
	case kind == streamType && len(body) >= messageHeadSize:
		return service.CheckJSONElements(m.request, body[messageHeadSize:])
	default:
		return nil
	}
}

// writeStatus answers with an error as Connect writes it.
func writeStatus(w http.ResponseWriter, err error) {
	type detail struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	s := status.Convert(err)
	answer := struct {
		Code    string   `json:"code"`
		Message string   `json:"message"`
		Details []detail `json:"details,omitempty"`
	}{connectCode(s.Code()), s.Message(), nil}
	for _, any := range s.Proto().GetDetails() {
		answer.Details = append(answer.Details, detail{string(any.MessageName()), base64.RawStdEncoding.EncodeToString(any.GetValue())})
	}
	answerJSON(w, httpStatus(answer.Code), answer)
}

// connectCode is a code as Connect writes it.
func connectCode(code codes.Code) string {
	if code == codes.Canceled {
		return "canceled"
	}
	return strings.ToLower(codeName(code))
}
