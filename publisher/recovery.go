package publisher

import (
	"fmt"
	"time"
)

// maxSilent is how many pipelines in a row may end without an acknowledgement, within ackLimit at least, before the
// stream's files count as broken. A slow stream, or one with another writer, moves on from one pipeline to the next.
const maxSilent = 2

// errSilent is why a stream is recreated that exists and stores nothing.
var errSilent = fmt.Errorf("JetStream stored nothing of what was published at least %d times in %s",
	maxSilent, ackLimit)

// recovery finds a stream that stores nothing. JetStream notices broken files once and never repairs them.
type recovery struct {
	silent int       // pipelines in a row without an acknowledgement
	since  time.Time // when the first of them ended
	end    position  // of the stream when they began
}

// failed counts a pipeline without an acknowledgement.
func (r *recovery) failed() {
	if r.silent == 0 {
		r.since = time.Now()
	}
	r.silent++
}

// reset begins to count at an end of the stream.
func (r *recovery) reset(end position) { r.silent, r.end = 0, end }

// isBroken reports whether the stream, which still has the same end, stores nothing.
func (r *recovery) isBroken() bool { return r.silent >= maxSilent && time.Since(r.since) >= ackLimit }
