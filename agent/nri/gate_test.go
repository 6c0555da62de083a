package nri

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rwGate is a gate over a lock like adaptation's.
func rwGate() (*gate, *sync.RWMutex) {
	var lock sync.RWMutex
	return &gate{block: func() func() { lock.RLock(); return lock.RUnlock }}, &lock
}

// waiting starts a synchronization and returns once it waits for the lock; done closes when it has had it.
func waiting(lock *sync.RWMutex) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		lock.Lock()
		defer lock.Unlock()
		close(done)
	}()
	for lock.TryRLock() { // which fails once a writer waits
		lock.RUnlock()
	}
	return done
}

func TestGateLetsInnerOperationsIn(t *testing.T) {
	g, lock := rwGate()
	outer := g.enter(true)
	done := waiting(lock)
	inner := g.enter(false) // would wait for ever on the lock itself
	outer()
	select {
	case <-done:
		t.Fatal("synchronized while an operation was inside")
	default:
	}
	inner()
	inner() // twice is once
	<-done
	g.enter(true)()
}

func TestGateMakesAGap(t *testing.T) {
	g, lock := rwGate()
	outer := g.enter(true)
	g.mu.Lock()
	g.since = time.Now().Add(-crowded) // operations have overlapped for long
	g.mu.Unlock()
	done := waiting(lock)
	var in atomic.Bool
	next := make(chan func())
	go func() {
		leave := g.enter(true)
		in.Store(true)
		next <- leave
	}()
	inner := g.enter(false)
	if in.Load() {
		t.Error("a new operation got in before the one that waits")
	}
	inner()
	outer()
	<-done
	(<-next)()
}
