package runtime

import (
	"context"
	"sync"
	"time"

	"github.com/slipway-cri/slipway/agent/monitor"
)

// exitQueue tells one handler of one exit after the other. It has no bound: an exit that
// is dropped would leave a container running for ever in the records.
type exitQueue struct {
	mu      sync.Mutex
	pending []Exit
	handler func(Exit)
	busy    bool
}

func (q *exitQueue) push(e Exit) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pending = append(q.pending, e)
	q.wake()
}

func (q *exitQueue) handle(f func(Exit)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.handler = f
	q.wake()
}

// wake is called with the lock held.
func (q *exitQueue) wake() {
	if q.busy || q.handler == nil || len(q.pending) == 0 {
		return
	}
	q.busy = true
	go q.drain()
}

func (q *exitQueue) drain() {
	for {
		q.mu.Lock()
		if len(q.pending) == 0 {
			q.busy, q.pending = false, nil
			q.mu.Unlock()
			return
		}
		e, f := q.pending[0], q.handler
		q.pending = q.pending[1:]
		q.mu.Unlock()
		f(e)
	}
}

func toExit(e monitor.Exit) Exit {
	return Exit{
		ID: e.ID, Code: e.Code, Signal: e.Signal, OOMKilled: e.OOMKilled,
		StartedAt: e.StartedAt, FinishedAt: e.FinishedAt,
	}
}

func (r *Runtime) exited(e monitor.Exit) { r.route(e.ID, toExit(e)) }

// route gives an exit to whom it concerns: a container's to the handler, an exec's to its
// caller, a holder's to nobody. Who waits for the process's end is told in any case.
func (r *Runtime) route(id string, e Exit) {
	p := r.procs.get(id)
	if p == nil {
		r.queue.push(e) // of a container that an earlier agent made; the handler knows its ids
		return
	}
	if !p.end() {
		return // told already, by List
	}
	switch p.kind {
	case monitor.KindContainer:
		r.queue.push(e)
	case monitor.KindExec:
		if p.done != nil {
			p.done <- e
		}
		r.procs.drop(id)
		r.served.Go(func() { r.forget(id) })
	}
}

// forget drops an exec's record; if it fails, the next connection sees it again.
func (r *Runtime) forget(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.mu.Lock()
	m := r.m
	r.mu.Unlock()
	if m == nil {
		return
	}
	if err := m.Forget(ctx, id); err != nil {
		r.log.WithError(err).WithField("exec", id).Debug("forget")
	}
}
