//go:build !unfenced

package publisher

import "github.com/nats-io/nats.go/jetstream"

// fence is what JetStream must hold for a line's next message to be taken. In a stream with copies it is the sequence alone: a copy that caught up
// does not know the last message's id (as of NATS 2.15), and would give up on a message that expects it. (The tag unfenced builds a publisher without it, with which
// cmd/torture shows that its checks notice.)
func (l *line) fence() []jetstream.PublishOpt {
	options := []jetstream.PublishOpt{jetstream.WithExpectLastSequence(l.sequence)}
	if l.sent != l.taken && !l.copied {
		options = append(options, jetstream.WithExpectLastMsgID(messageID(l.boundary, l.sent.globalID)))
	}
	return options
}
