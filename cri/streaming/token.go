package streaming

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// maxWaiting bounds the requests whose client has not connected yet.
const maxWaiting = 1000

// tokens keeps requests until their client connects. A token is 130 random bits, works
// once, and expires. The zero value with a ttl is ready.
type tokens struct {
	ttl time.Duration

	mu      sync.Mutex
	waiting map[string]waiting
}

type waiting struct {
	req     any
	expires time.Time
}

// put stores req; too many at once are lifecycle.ErrExhausted.
func (t *tokens) put(req any) (string, error) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) >= maxWaiting {
		t.expire(now)
	}
	if len(t.waiting) >= maxWaiting {
		return "", fmt.Errorf("%d streaming requests wait for their clients: %w", maxWaiting, lifecycle.ErrExhausted)
	}
	if t.waiting == nil {
		t.waiting = make(map[string]waiting)
	}
	token := rand.Text()
	t.waiting[token] = waiting{req, now.Add(t.ttl)}
	return token, nil
}

func (t *tokens) expire(now time.Time) {
	for k, w := range t.waiting {
		if !now.Before(w.expires) {
			delete(t.waiting, k)
		}
	}
}

// take removes and returns the request of a token, whether or not it has expired.
func (t *tokens) take(token string) (any, bool) {
	t.mu.Lock()
	w, ok := t.waiting[token]
	delete(t.waiting, token)
	t.mu.Unlock()
	return w.req, ok && time.Now().Before(w.expires)
}
