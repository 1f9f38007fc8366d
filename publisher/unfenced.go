//go:build unfenced

package publisher

import "github.com/nats-io/nats.go/jetstream"

// fence expects nothing: what cmd/torture must notice.
func (l *line) fence() []jetstream.PublishOpt { return nil }
