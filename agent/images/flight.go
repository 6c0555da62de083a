package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"sync"
)

// errLeft is why a pull ends when nobody waits for it any more.
var errLeft = errors.New("all callers of the pull have left")

// flight is one pull and those who wait for it.
type flight struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	img    *Image
	err    error

	mu       sync.Mutex
	waiters  int
	progress map[int]Progress
	next     int
}

// flightKey includes the credentials: who comes with wrong ones must not get the image
// out of somebody else's pull.
func flightKey(ref string, auth *Auth) string {
	b, _ := json.Marshal(auth) // a struct of strings: no error
	sum := sha256.Sum256(b)
	return ref + " " + hex.EncodeToString(sum[:])
}

// join returns the flight of key, starting run when there is none, and counts the caller in.
func (l *Local) join(key string, p Progress, run func(context.Context, Progress) (*Image, error)) (*flight, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.pulls[key]
	if f == nil {
		f = l.start(key, run)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiters++
	f.next++
	if p != nil {
		f.progress[f.next] = p
	}
	return f, f.next
}

// start wants l.mu.
func (l *Local) start(key string, run func(context.Context, Progress) (*Image, error)) *flight {
	ctx, cancel := context.WithCancelCause(context.Background())
	f := &flight{cancel: cancel, done: make(chan struct{}), progress: map[int]Progress{}}
	l.pulls[key] = f
	l.running[f] = true
	l.flights.Go(func() {
		f.img, f.err = run(ctx, f.tell)
		l.counts.ended(f.err)
		l.mu.Lock()
		delete(l.running, f)
		if l.pulls[key] == f {
			delete(l.pulls, key)
		}
		l.mu.Unlock()
		close(f.done)
		cancel(nil)
	})
	return f
}

func (f *flight) tell(s Step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.progress {
		p(s)
	}
}

// leave counts a caller out; the last one ends the pull, and those who come after begin another.
func (l *Local) leave(key string, f *flight, id int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.mu.Lock()
	f.waiters--
	delete(f.progress, id)
	last := f.waiters == 0
	f.mu.Unlock()
	if last {
		f.cancel(errLeft)
		if l.pulls[key] == f {
			delete(l.pulls, key)
		}
	}
}

// Pull implements Service.
func (l *Local) Pull(ctx context.Context, ref string, auth *Auth, p Progress) (*Image, error) {
	named, err := ParseReference(ref)
	if err != nil {
		return nil, err
	}
	key := flightKey(named.String(), auth)
	f, id := l.join(key, p, func(ctx context.Context, p Progress) (*Image, error) {
		return l.pull(ctx, named, auth, p)
	})
	defer l.leave(key, f, id)
	select {
	case <-f.done:
		return f.img, f.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
