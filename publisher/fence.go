//go:build !unfenced

package publisher

import (
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// fence says in a message's header what JetStream must hold for the pipeline's next message to be taken. In a stream
// with copies it is the sequence alone: a copy that caught up does not know the last message's id (as of NATS 2.15),
// and would give up on a message that expects it. (The tag unfenced builds a publisher without it, with which
// cmd/torture shows that its checks notice.)
func (p *pipeline) fence(header nats.Header) {
	header.Set(jetstream.ExpectedLastSeqHeader, strconv.FormatUint(p.sequence, 10))
	if p.sent != p.begin && !p.copied {
		header.Set(jetstream.ExpectedLastMsgIDHeader, messageID(p.boundary, p.sent.globalID))
	}
}
