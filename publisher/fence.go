//go:build !unfenced

package publisher

import "github.com/nats-io/nats.go/jetstream"

// fence is what JetStream must hold for a line's next message to be taken. (The tag unfenced builds a publisher without it, with which
// cmd/torture shows that its checks notice.)
func (l *line) fence() []jetstream.PublishOpt {
	options := []jetstream.PublishOpt{jetstream.WithExpectLastSequence(l.sequence)}
	if l.sent != l.taken {
		options = append(options, jetstream.WithExpectLastMsgID(messageID(l.boundary, l.sent.globalID)))
	}
	return options
}
