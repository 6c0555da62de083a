// Package inventory keeps the agent's pods or its containers in memory: by id, by reserved
// key, as immutable snapshots that lists read without waiting for anybody, each with one
// operation slot. It joins a repeated creation with the one under way, and writes each new
// snapshot to its record before it is seen. It knows nothing of what a pod or container is.
//
// Locking: Inventory.mu guards the two maps and is never held over I/O or a wait; Entry.mu
// orders one entry's updates with their records; the slot is the caller's to take, pod
// before container.
package inventory

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// ErrUnsaved says that a snapshot's record could not be written.
var ErrUnsaved = errors.New("not recorded")

// MakeTimeout bounds a creation, which goes on when its caller leaves.
const MakeTimeout = 4 * time.Minute

// Inventory of T's. Use New.
type Inventory[T any] struct {
	what  string
	save  func(id string, v *T) error
	watch func(old, now *T) // may be nil
	mu    sync.RWMutex
	byID  map[string]*Entry[T]
	byKey map[string]*Entry[T]
}

// Entry is one T, from its reservation until it is dropped.
type Entry[T any] struct {
	ID  string
	key string
	inv *Inventory[T]

	slot   chan struct{}
	mu     sync.Mutex
	erased bool // its record is gone, and no late update may write it again
	snap   atomic.Pointer[T]
	seen   atomic.Bool // listed: its creation is complete

	after   []func()      // run when the creation has ended
	made    chan struct{} // closed when the creation has ended
	makeErr error         // valid after made
}

// New makes an inventory of what ("pod", "container"); save writes a snapshot's record.
func New[T any](what string, save func(id string, v *T) error) *Inventory[T] {
	return &Inventory[T]{what: what, save: save, byID: map[string]*Entry[T]{}, byKey: map[string]*Entry[T]{}}
}

// Watch has f told of every change of what lists show, after the record is written: (nil, v) when a
// creation is complete, (old, now) for each change, (last, nil) when a T is forgotten. The calls of one T
// come in their order. f must not wait, nor change the T that it is told of. To be called before use.
func (inv *Inventory[T]) Watch(f func(old, now *T)) { inv.watch = f }

func (inv *Inventory[T]) tell(old, now *T) {
	if inv.watch != nil {
		inv.watch(old, now)
	}
}

// NewID returns 64 random hex digits, the form that the field's tools expect.
func NewID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand panics instead
	return hex.EncodeToString(b[:])
}

// Make creates the T reserved under key, once: while a creation of the same key is under
// way, further calls wait for that one; afterwards same decides whether an existing T is
// what was asked for. build runs to its end, or to MakeTimeout, even when ctx ends before: the
// caller's retry then finds the result. build must undo what it did when it fails.
func (inv *Inventory[T]) Make(ctx context.Context, key string, same func(*T) bool, build func(context.Context, *Entry[T]) error) (string, error) {
	inv.mu.Lock()
	e, exists := inv.byKey[key]
	if !exists {
		e = inv.newEntry(NewID(), key)
		e.made = make(chan struct{})
		inv.byID[e.ID], inv.byKey[key] = e, e
	}
	inv.mu.Unlock()
	if !exists {
		go inv.build(context.WithoutCancel(ctx), e, build)
	}
	select {
	case <-e.made:
	case <-ctx.Done():
		return "", fmt.Errorf("%s %s is still being created: %w", inv.what, e.ID, context.Cause(ctx))
	}
	if e.makeErr != nil {
		return "", e.makeErr
	}
	if exists && !same(e.Snapshot()) {
		return "", fmt.Errorf("%s with this name and attempt is %s: %w", inv.what, e.ID, lifecycle.ErrExists)
	}
	return e.ID, nil
}

func (inv *Inventory[T]) build(ctx context.Context, e *Entry[T], build func(context.Context, *Entry[T]) error) {
	ctx, cancel := context.WithTimeout(ctx, MakeTimeout)
	defer cancel()
	if e.makeErr = build(ctx, e); e.makeErr != nil {
		e.Drop()
	} else {
		e.show()
	}
	for _, f := range e.after {
		f()
	}
	close(e.made)
}

// AfterMake has f run once the T that build is making is listed, or dropped. For build only.
func (e *Entry[T]) AfterMake(f func()) { e.after = append(e.after, f) }

// show makes lists show the entry.
func (e *Entry[T]) show() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen.Store(true)
	e.inv.tell(nil, e.snap.Load())
}

func (inv *Inventory[T]) newEntry(id, key string) *Entry[T] {
	return &Entry[T]{ID: id, key: key, inv: inv, slot: make(chan struct{}, 1)}
}

var ended = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Restore puts a T that was read from its record back.
func (inv *Inventory[T]) Restore(id, key string, v *T) *Entry[T] {
	e := inv.newEntry(id, key)
	e.made = ended
	e.seen.Store(true)
	e.snap.Store(v)
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.byID[id], inv.byKey[key] = e, e
	return e
}

// Find returns the entry whose id is id, or starts with it where only one does.
func (inv *Inventory[T]) Find(id string) (*Entry[T], error) {
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	if e := inv.byID[id]; e != nil && e.seen.Load() {
		return e, nil
	}
	var found *Entry[T]
	for full, e := range inv.byID {
		if id == "" || !strings.HasPrefix(full, id) || !e.seen.Load() {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%s id %q is the beginning of several ids: %w", inv.what, id, lifecycle.ErrInvalid)
		}
		found = e
	}
	if found == nil {
		return nil, fmt.Errorf("%s %q: %w", inv.what, id, lifecycle.ErrNotFound)
	}
	return found, nil
}

// Peek returns the entry of exactly this id even while it is being created, or nil.
func (inv *Inventory[T]) Peek(id string) *Entry[T] {
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	return inv.byID[id]
}

// List returns the snapshots of all T's whose creation is complete, in no order.
func (inv *Inventory[T]) List() []*T {
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	out := make([]*T, 0, len(inv.byID))
	for _, e := range inv.byID {
		if e.seen.Load() {
			out = append(out, e.snap.Load())
		}
	}
	return out
}

// Len is how many T's there are, those being created included.
func (inv *Inventory[T]) Len() int {
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	return len(inv.byID)
}

// Snapshot is the entry's present T; nil before the first Set.
func (e *Entry[T]) Snapshot() *T { return e.snap.Load() }

// Set replaces the snapshot by what change makes of a copy of it (of a zero T at first),
// once its record is written. An error of change or of the record (ErrUnsaved) leaves the old one;
// lifecycle.ErrNotFound once it is erased.
func (e *Entry[T]) Set(change func(*T) error) error { return e.set(change, false) }

// SetEvenUnsaved is Set for facts that hold whether they can be recorded or not (a process
// has exited, the disk is full): the snapshot changes all the same, ErrUnsaved is returned.
func (e *Entry[T]) SetEvenUnsaved(change func(*T) error) error { return e.set(change, true) }

func (e *Entry[T]) set(change func(*T) error, evenUnsaved bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.erased {
		return fmt.Errorf("%s %s is being removed: %w", e.inv.what, e.ID, lifecycle.ErrNotFound)
	}
	var next T
	old := e.snap.Load()
	if old != nil {
		next = *old
	}
	if err := change(&next); err != nil {
		return err
	}
	err := e.inv.save(e.ID, &next)
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %w", e.inv.what, e.ID, ErrUnsaved, err)
	}
	if err == nil || evenUnsaved {
		e.snap.Store(&next)
		if e.seen.Load() {
			e.inv.tell(old, &next)
		}
	}
	return err
}

// Erase removes the entry's record by remove. Once that has succeeded, an update that comes late (an
// exit that was on its way) fails instead of writing the record anew, which the next start would find.
func (e *Entry[T]) Erase(remove func(id string) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := remove(e.ID); err != nil {
		return err
	}
	e.erased = true
	return nil
}

// Acquire takes the operation slot; release it with the returned function.
func (e *Entry[T]) Acquire(ctx context.Context) (release func(), err error) {
	select {
	case e.slot <- struct{}{}:
		return func() { <-e.slot }, nil
	default:
	}
	select {
	case e.slot <- struct{}{}:
		return func() { <-e.slot }, nil
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("%s %s has another operation under way", e.inv.what, e.ID), context.Cause(ctx))
	}
}

// Drop forgets the entry and its key; whoever still holds it may go on reading it.
func (e *Entry[T]) Drop() {
	if e.forget() && e.seen.Load() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.inv.tell(e.snap.Load(), nil)
	}
}

// forget says whether the entry was there.
func (e *Entry[T]) forget() (was bool) {
	e.inv.mu.Lock()
	defer e.inv.mu.Unlock()
	if e.inv.byID[e.ID] == e {
		delete(e.inv.byID, e.ID)
		was = true
	}
	if e.inv.byKey[e.key] == e {
		delete(e.inv.byKey, e.key)
	}
	return was
}
