package inventory

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

type thing struct{ n int }

// saved records what was written, and fails when told to.
type saved struct {
	mu   sync.Mutex
	last map[string]thing
	err  error
}

func (s *saved) save(id string, v *thing) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.last[id] = *v
	return nil
}

func newInventory() (*Inventory[thing], *saved) {
	s := &saved{last: map[string]thing{}}
	return New("thing", s.save), s
}

func setN(n int) func(*thing) error { return func(t *thing) error { t.n = n; return nil } }

func isN(n int) func(*thing) bool { return func(t *thing) bool { return t.n == n } }

func TestMakeJoinsAndRepeats(t *testing.T) {
	inv, s := newInventory()
	gate, builds := make(chan struct{}), 0
	build := func(_ context.Context, e *Entry[thing]) error {
		builds++
		if err := e.Set(setN(7)); err != nil {
			return err
		}
		<-gate
		return nil
	}
	ids := make(chan string, 3)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			id, err := inv.Make(t.Context(), "k", isN(7), build)
			if err != nil {
				t.Error(err)
			}
			ids <- id
		})
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := inv.Make(gone, "k", isN(7), build); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that left: %v", err)
	}
	if len(inv.List()) != 0 {
		t.Error("listed before its creation is complete")
	}
	close(gate)
	wg.Wait()
	a, b, c := <-ids, <-ids, <-ids
	if a != b || b != c || builds != 1 || s.last[a].n != 7 {
		t.Errorf("ids %s %s %s of %d builds, record %v", a, b, c, builds, s.last)
	}
	if id, err := inv.Make(t.Context(), "k", isN(7), build); err != nil || id != a {
		t.Errorf("a later retry: %s %v", id, err)
	}
	if _, err := inv.Make(t.Context(), "k", isN(8), build); !errors.Is(err, lifecycle.ErrExists) {
		t.Errorf("another under the same key: %v", err)
	}
}

func TestMakeFailureFreesTheKey(t *testing.T) {
	inv, _ := newInventory()
	boom := errors.New("boom")
	if _, err := inv.Make(t.Context(), "k", isN(1), func(context.Context, *Entry[thing]) error { return boom }); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if inv.Len() != 0 {
		t.Error("the failed one is still there")
	}
	if _, err := inv.Make(t.Context(), "k", isN(1), func(_ context.Context, e *Entry[thing]) error { return e.Set(setN(1)) }); err != nil {
		t.Errorf("retry: %v", err)
	}
}

func TestFind(t *testing.T) {
	inv, _ := newInventory()
	inv.Restore("abc1", "k1", &thing{1})
	inv.Restore("abc2", "k2", &thing{2})
	inv.Restore("ab", "k3", &thing{3})
	for id, want := range map[string]int{"abc1": 1, "abc2": 2, "ab": 3} {
		if e, err := inv.Find(id); err != nil || e.Snapshot().n != want {
			t.Errorf("Find(%q): %v", id, err)
		}
	}
	for id, want := range map[string]error{"abc": lifecycle.ErrInvalid, "x": lifecycle.ErrNotFound, "": lifecycle.ErrNotFound} {
		if _, err := inv.Find(id); !errors.Is(err, want) {
			t.Errorf("Find(%q): %v, want %v", id, err, want)
		}
	}
}

func TestSetRecordsFirst(t *testing.T) {
	inv, s := newInventory()
	e := inv.Restore("a", "k", &thing{1})
	s.err = errors.New("disk full")
	if err := e.Set(setN(2)); !errors.Is(err, s.err) || !errors.Is(err, ErrUnsaved) || e.Snapshot().n != 1 {
		t.Errorf("unsaved change seen: %v %v", err, e.Snapshot())
	}
	if err := e.SetEvenUnsaved(setN(3)); !errors.Is(err, s.err) || e.Snapshot().n != 3 {
		t.Errorf("fact not seen: %v %v", err, e.Snapshot())
	}
}

// TestEraseIsFinal: an update that comes late does not write the record again.
func TestEraseIsFinal(t *testing.T) {
	inv, s := newInventory()
	e := inv.Restore("a", "k", &thing{1})
	boom := errors.New("boom")
	if err := e.Erase(func(string) error { return boom }); !errors.Is(err, boom) {
		t.Error(err)
	}
	if err := e.Set(setN(2)); err != nil || s.last["a"].n != 2 {
		t.Errorf("after a failed removal: %v", err)
	}
	if err := e.Erase(func(id string) error { delete(s.last, id); return nil }); err != nil {
		t.Error(err)
	}
	for _, set := range []func(func(*thing) error) error{e.Set, e.SetEvenUnsaved} {
		if err := set(setN(3)); !errors.Is(err, lifecycle.ErrNotFound) || len(s.last) != 0 {
			t.Errorf("a late update: %v, records %v", err, s.last)
		}
	}
}

func TestSlot(t *testing.T) {
	inv, _ := newInventory()
	e := inv.Restore("a", "k", &thing{1})
	release, err := e.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Acquire(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("taken twice: %v", err)
	}
	release()
	release, err = e.Acquire(ctx)
	if err != nil {
		t.Errorf("a free slot is taken even at the deadline: %v", err)
	}
	release()
	e.Drop()
	if _, err := inv.Find("a"); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Error(err)
	}
}
