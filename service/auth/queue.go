package auth

import "sync"

// maxHashing is how many logins may wait to be hashed.
const maxHashing = 32

// queue is the logins that wait to be hashed, by the addresses they come from. Each address may take half as many places as it leaves free:
// one alone gets a third of them, and however many others come, there is one for who comes from elsewhere, until the last one is taken.
type queue struct {
	mu      sync.Mutex
	waiting int
	by      map[string]int
}

func newQueue() *queue { return &queue{by: map[string]int{}} }

// hasRoom tells whether join would succeed now.
func (q *queue) hasRoom(address string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.isOpen(address)
}

func (q *queue) isOpen(address string) bool { return 2*q.by[address] < maxHashing-q.waiting }

// join takes a place, or tells that there is none. Each place that is taken has to be left.
func (q *queue) join(address string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.isOpen(address) {
		return false
	}
	q.waiting++
	q.by[address]++
	return true
}

func (q *queue) leave(address string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting--
	if q.by[address]--; q.by[address] == 0 {
		delete(q.by, address)
	}
}
