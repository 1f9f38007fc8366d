package httpapi

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	endian "encoding/binary"
	"io"
	"net/http"
	"strings"

	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/server/transport"
	"github.com/oexza/orisun/service"
	"github.com/oexza/orisun/service/inflight"
)

// enveloped reports whether bodies of a content type are messages with a head before each.
func enveloped(kind string) bool {
	return strings.HasPrefix(kind, "application/grpc") || strings.HasPrefix(kind, "application/connect+")
}

// readBody reads a request of at most limit bytes, decompressed. Afterwards its headers no longer mention
// compression.
func readBody(r *http.Request, kind string, call *inflight.Call, limit int) ([]byte, error) {
	body, err := decompressed(r.Header.Get("Content-Encoding"), r.Body, call, limit)
	if err != nil || !enveloped(kind) || len(body) < transport.MessageHeadSize || body[0]&transport.CompressedFlag == 0 {
		r.Header.Del("Content-Encoding")
		return body, err
	}
	encoding := r.Header.Get("Grpc-Encoding")
	if strings.HasPrefix(kind, "application/connect+") {
		encoding = r.Header.Get("Connect-Content-Encoding")
	}
	if length := int(endian.BigEndian.Uint32(body[1:])); length != len(body)-transport.MessageHeadSize {
		return nil, status.Errorf(codes.InvalidArgument, "the body is not one message: its head says %d bytes, %d follow",
			length, len(body)-transport.MessageHeadSize)
	}
	message, err := decompressed(encoding, bytes.NewReader(body[transport.MessageHeadSize:]), call, limit)
	if err != nil {
		return nil, err
	}
	return append(endian.BigEndian.AppendUint32([]byte{body[0] &^ transport.CompressedFlag}, uint32(len(message))),
		message...), nil
}

func decompressed(encoding string, body io.Reader, call *inflight.Call, limit int) ([]byte, error) {
	switch encoding {
	case "", "identity":
		return transport.ReadLimited(body, call, limit)
	case "gzip":
		from, err := gzip.NewReader(body)
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "the body is not gzip: %v", err)
		}
		return transport.ReadLimited(from, call, limit)
	default:
		return nil, status.Errorf(codes.InvalidArgument,
			"the body is compressed by %q; send it by gzip, or as it is", encoding)
	}
}

// checkBody counts the elements of a request in JSON. gRPC's door counts those of requests in protobuf's wire format.
func (m httpMethod) checkBody(kind string, body []byte) error {
	switch {
	case kind == jsonType:
		return service.CheckJSONElements(m.request, body)
	case kind == streamType && len(body) >= transport.MessageHeadSize:
		return service.CheckJSONElements(m.request, body[transport.MessageHeadSize:])
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
		answer.Details = append(answer.Details, detail{
			string(any.MessageName()), base64.RawStdEncoding.EncodeToString(any.GetValue()),
		})
	}
	answerJSON(w, httpStatus(answer.Code), answer)
}

// connectCode is a code as Connect writes it.
func connectCode(code codes.Code) string {
	if code == codes.Canceled {
		return "canceled"
	}
	return strings.ToLower(rpccode.Code(code).String())
}
