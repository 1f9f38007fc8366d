package transport

import (
	"context"
	endian "encoding/binary"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // requests may come in gzip
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/oexza/orisun/service"
	"github.com/oexza/orisun/service/inflight"
)

// messages is the stream of a gRPC call below its public interface: RecvMsg would receive and decompress a message
// before its length can be checked.
type messages interface {
	ReadMessageHeader(header []byte) error
	Read(n int) (mem.BufferSlice, error)
	RecvCompress() string
}

// messageHead is what gRPC sends before a message.
type messageHead struct {
	flag   byte
	length int
}

const (
	// MessageHeadSize is the size of a message's head in bytes.
	MessageHeadSize = 5
	// CompressedFlag is the flag in the head of a compressed message.
	CompressedFlag = 1
)

// receive receives the only request of a call.
func (d *Door) receive(ctx context.Context, call *inflight.Call, method string, request any) error {
	if err := d.receiveNext(ctx, call, method, request); err != nil {
		if errors.Is(err, io.EOF) {
			return status.Error(codes.InvalidArgument, "the client sent no request")
		}
		return err
	}
	switch _, _, err := nextMessage(ctx); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	default:
		return status.Error(codes.InvalidArgument, "the client sent more than one request")
	}
}

// receiveNext receives a request when there is room for it. io.EOF is the end of a client's stream. Other errors are
// gRPC statuses.
func (d *Door) receiveNext(ctx context.Context, call *inflight.Call, method string, request any) error {
	into, ok := request.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "a request of type %T is no protobuf message", request)
	}
	head, from, err := nextMessage(ctx)
	if err != nil {
		return err
	}
	limit := d.Limit(method)
	if head.length > limit {
		return status.Errorf(codes.ResourceExhausted, "the request has %d bytes, at most %d are taken", head.length, limit)
	}
	if err := call.Receive(ctx, head.length); err != nil {
		return err
	}
	received, err := from.Read(head.length)
	if err != nil {
		return receiveError(ctx, err)
	}
	defer func() { received.Free() }()
	if head.flag == CompressedFlag {
		decompressed, err := decompress(from.RecvCompress(), received, call, limit)
		if err != nil {
			return err
		}
		received.Free()
		received = mem.BufferSlice{mem.SliceBuffer(decompressed)}
	}
	whole := received.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	if err := service.CheckElements(into.ProtoReflect().Descriptor(), whole.ReadOnlyData()); err != nil {
		return err
	}
	if err := proto.Unmarshal(whole.ReadOnlyData(), into); err != nil {
		return status.Errorf(codes.InvalidArgument, "the request is not a %s: %v",
			into.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}

// nextMessage waits for a message to begin.
func nextMessage(ctx context.Context) (messageHead, messages, error) {
	from, ok := grpc.ServerTransportStreamFromContext(ctx).(messages)
	if !ok {
		return messageHead{}, nil, status.Error(codes.Internal, "this version of gRPC does not let a server read messages")
	}
	head := make([]byte, MessageHeadSize)
	if err := from.ReadMessageHeader(head); err != nil {
		return messageHead{}, nil, receiveError(ctx, err)
	}
	if head[0] > CompressedFlag {
		return messageHead{}, nil,
			status.Errorf(codes.Internal, "a message begins with %d, neither 0 nor 1 (compressed)", head[0])
	}
	return messageHead{head[0], int(endian.BigEndian.Uint32(head[1:]))}, from, nil
}

// receiveError is a gRPC status, or io.EOF.
func receiveError(ctx context.Context, err error) error {
	_, isStatus := status.FromError(err)
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case isStatus:
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return status.Error(codes.Internal, "the client's stream ends within a message")
	default:
		return status.Errorf(codes.Unavailable, "receive a request: %v", err)
	}
}

const firstDecompressed = 16 << 10

// decompress decompresses a message to at most limit bytes, and counts them as they are written.
func decompress(name string, received mem.BufferSlice, call *inflight.Call, limit int) ([]byte, error) {
	compressor := encoding.GetCompressor(name)
	if compressor == nil {
		return nil, status.Errorf(codes.Internal, "the request is compressed, and its header grpc-encoding is %q", name)
	}
	source := received.Reader()
	defer func() { _ = source.Close() }() // which never fails: it is memory
	from, err := compressor.Decompress(source)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "the request cannot be decompressed: %v", err)
	}
	return ReadLimited(from, call, limit)
}

// ReadLimited reads to the end, and counts the bytes for a call.
func ReadLimited(from io.Reader, call *inflight.Call, limit int) ([]byte, error) {
	var read []byte
	for {
		if len(read) == cap(read) {
			size := min(max(2*cap(read), firstDecompressed), limit+1)
			if err := call.Grow(size - cap(read)); err != nil {
				return nil, err
			}
			read = append(make([]byte, 0, size), read...)
		}
		n, err := from.Read(read[len(read):cap(read)])
		read = read[:len(read)+n]
		switch {
		case len(read) > limit:
			return nil, status.Errorf(codes.ResourceExhausted,
				"the request has more than %d bytes when it is decompressed, at most as many are taken", limit)
		case errors.Is(err, io.EOF):
			return read, nil
		case err != nil:
			return nil, status.Errorf(codes.InvalidArgument, "the request cannot be read: %v", err)
		}
	}
}
