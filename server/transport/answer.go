package transport

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // for GetCodecV2
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/oexza/orisun/service/inflight"
)

// answer is a message that counts until it is written.
type answer struct {
	message proto.Message
	size    int
	counted *inflight.Answer
}

// answerCodec is gRPC's codec of protobuf, extended for answers.
type answerCodec struct{ encoding.CodecV2 }

func newAnswerCodec() answerCodec { return answerCodec{encoding.GetCodecV2("proto")} }

// Marshal implements encoding.CodecV2.
func (c answerCodec) Marshal(message any) (mem.BufferSlice, error) {
	a, counted := message.(*answer)
	if !counted {
		return c.CodecV2.Marshal(message)
	}
	if page := []byte(a.message.ProtoReflect().GetUnknown()); len(page) == a.size { // it is in wire format already
		return mem.BufferSlice{mem.NewBuffer(&page, &writtenAnswer{a.counted, nil})}, nil
	}
	pool := mem.DefaultBufferPool()
	buffer := pool.Get(a.size)
	encoded, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend((*buffer)[:0], a.message)
	if err != nil {
		pool.Put(buffer)
		a.counted.Written()
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	*buffer = encoded
	return mem.BufferSlice{mem.NewBuffer(buffer, &writtenAnswer{a.counted, pool})}, nil
}

// writtenAnswer is the pool to which gRPC returns the buffer of an answer once it is written, or will not be.
type writtenAnswer struct {
	answer *inflight.Answer
	pool   mem.BufferPool // nil for a buffer that is not from a pool
}

// Get implements mem.BufferPool.
func (w *writtenAnswer) Get(length int) *[]byte { return mem.DefaultBufferPool().Get(length) }

// Put implements mem.BufferPool.
func (w *writtenAnswer) Put(buffer *[]byte) {
	if w.pool != nil {
		w.pool.Put(buffer)
	}
	w.answer.Written()
}
