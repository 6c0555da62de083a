package nri

import (
	"sync"
	"time"
)

// crowded is how long operations may overlap without a gap before new ones wait for one.
const crowded = 500 * time.Millisecond

// gate keeps a late plugin from being synchronized between an event and the moment from which lists show what
// the event was about: such a plugin would learn of it by neither.
//
// adaptation's own block is a sync.RWMutex whose waiting writer stops new readers, so an operation inside
// another (the stop of a pod waits for the hooks of its containers) would wait for ever. Here all operations
// share one block, and whoever comes from within gets in at once; only those that begin a pod or container
// wait for a gap when there has been none for a while, so that a plugin gets its turn on a busy node.
type gate struct {
	block func() (unblock func())

	mu      sync.Mutex
	n       int
	since   time.Time     // of the first that is in
	empty   chan struct{} // closed when the last is out
	unblock func()
}

// enter may wait for a synchronization that is under way. first is for operations that hold nothing another one
// inside the gate may wait for.
func (g *gate) enter(first bool) (leave func()) {
	for {
		g.mu.Lock()
		if !first || g.n == 0 || time.Since(g.since) < crowded {
			break
		}
		gap := g.empty
		g.mu.Unlock()
		<-gap
	}
	defer g.mu.Unlock()
	if g.n == 0 {
		g.unblock = g.block() // with the mutex: nobody is in, so nobody needs it to get out
		g.since, g.empty = time.Now(), make(chan struct{})
	}
	g.n++
	return sync.OnceFunc(g.leave)
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 {
		g.unblock()
		close(g.empty)
	}
}
