package inventory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// TestWatch: a creation under way and one that failed are nobody's business; the rest is told in order.
func TestWatch(t *testing.T) {
	inv, s := newInventory()
	var told []string
	var id string
	n := func(v *thing) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprint(v.n)
	}
	inv.Watch(func(old, now *thing) {
		told = append(told, n(old)+">"+n(now))
		if old != nil && now != nil && s.last[id] != *now {
			t.Errorf("told of %v before it was recorded", *now)
		}
	})
	failed := errors.New("no")
	if _, err := inv.Make(t.Context(), "bad", isN(1), func(_ context.Context, e *Entry[thing]) error {
		return errors.Join(e.Set(setN(1)), failed)
	}); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	var err error
	id, err = inv.Make(t.Context(), "k", isN(2), func(_ context.Context, e *Entry[thing]) error {
		return errors.Join(e.Set(setN(1)), e.Set(setN(2)))
	})
	if err != nil {
		t.Fatal(err)
	}
	e := inv.Peek(id)
	if err := e.Set(setN(3)); err != nil {
		t.Fatal(err)
	}
	s.err = errors.New("disk full")
	if err := e.Set(setN(4)); err == nil {
		t.Error("recorded on a full disk")
	}
	s.err = nil
	e.Drop()
	e.Drop()
	if want := []string{"->2", "2>3", "3>-"}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}
