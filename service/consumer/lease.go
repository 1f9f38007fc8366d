//go:build !unleased

package consumer

import "time"

// alive returns whether the lease holds. (The tag unleased builds a server that ignores it, with which cmd/torture shows
// that its checks notice.)
func (n *Node) alive(now time.Time) bool {
	until := n.aliveUntil.Load()
	return until != nil && now.Before(*until)
}
