package events

import (
	"context"
	"fmt"
	"sync"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Reader is one subscription. One goroutine reads it.
type Reader struct {
	bus *Bus

	mu    sync.Mutex
	queue []*Event
	lost  chan struct{} // closed when the reader was too far behind
	wake  chan struct{} // holds one token where the queue was filled
}

// Subscribe has all events from now on queued. Close ends it.
func (b *Bus) Subscribe() *Reader {
	r := &Reader{bus: b, lost: make(chan struct{}), wake: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readers[r] = struct{}{}
	return r
}

// Close forgets the reader. It may be repeated.
func (r *Reader) Close() {
	r.bus.mu.Lock()
	defer r.bus.mu.Unlock()
	delete(r.bus.readers, r)
}

// push is false when the reader is to be forgotten: it fell behind, and what it has not read is dropped.
func (r *Reader) push(e *Event) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) >= QueueLimit {
		r.queue = nil
		close(r.lost)
		return false
	}
	r.queue = append(r.queue, e)
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return true
}

// Lost is closed when the reader was ended for being QueueLimit events behind; see Err.
func (r *Reader) Lost() <-chan struct{} { return r.lost }

// Err is nil, or lifecycle.ErrExhausted once the reader is ended: what happened since is to be learned by
// listing, and a new subscription goes on from there.
func (r *Reader) Err() error {
	select {
	case <-r.lost:
		return fmt.Errorf("the reader of events is more than %d behind; list, and subscribe anew: %w", QueueLimit, lifecycle.ErrExhausted)
	default:
		return nil
	}
}

// Next waits for events and takes all that are queued, in their order. Errors: Err's, or ctx's.
func (r *Reader) Next(ctx context.Context) ([]*Event, error) {
	for {
		if err := r.Err(); err != nil {
			return nil, err
		}
		if all := r.take(); len(all) > 0 {
			return all, nil
		}
		select {
		case <-r.wake:
		case <-r.lost:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (r *Reader) take() []*Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.queue
	r.queue = nil
	return all
}
