package auth

import "sync"

// maxHashing is how many logins may wait to be hashed.
const maxHashing = 32

// queue is the logins that wait to be hashed, by address. An address with a place gets another one only while half of
// the places are free. So logins from sixteen addresses, however many, leave a place for another address.
type queue struct {
	mu      sync.Mutex
	waiting int
	by      map[string]int
}

func newQueue() *queue { return &queue{by: map[string]int{}} }

// hasRoom returns whether join would succeed now.
func (q *queue) hasRoom(address string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.isOpen(address)
}

func (q *queue) isOpen(address string) bool {
	if q.by[address] > 0 {
		return q.waiting < maxHashing/2
	}
	return q.waiting < maxHashing
}

// join takes a place, and returns false if there is none. Each place that is taken has to be left.
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
