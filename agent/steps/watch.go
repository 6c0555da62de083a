package steps

import (
	"context"
	"time"
)

// Took is how long one step took.
type Took struct {
	Name  string        `json:"name"`
	At    time.Duration `json:"at"` // since the first step began
	Took  time.Duration `json:"took"`
	Parts []Took        `json:"parts,omitempty"` // its laps; At since the first step began too
}

// Observer is told of a run when its last step has ended, before anything is undone. It must not
// keep all, nor wait.
type Observer interface {
	Ran(began time.Time, all []Took, err error)
}

type observerKey struct{}

// Observe has o told of the runs that get the returned context, beside who is told of them already.
func Observe(ctx context.Context, o Observer) context.Context {
	if before, ok := ctx.Value(observerKey{}).(Observer); ok {
		o = both{before, o}
	}
	return context.WithValue(ctx, observerKey{}, o)
}

type both struct{ first, second Observer }

func (b both) Ran(began time.Time, all []Took, err error) {
	b.first.Ran(began, all, err)
	b.second.Ran(began, all, err)
}

// Watch times the steps of one run. It is its goroutine's alone.
type Watch struct {
	began time.Time
	all   []Took
	last  time.Duration // when the present step began, or its last lap ended
	in    bool          // inside a step
}

type watchKey struct{}

// Begin starts a watch for about n steps; the context is for Do, and carries Lap's way to it.
func Begin(ctx context.Context, n int) (*Watch, context.Context) {
	w := &Watch{began: time.Now(), all: make([]Took, 0, n)}
	return w, context.WithValue(ctx, watchKey{}, w)
}

// Do runs one step.
func (w *Watch) Do(ctx context.Context, name string, step func(context.Context) error) error {
	w.last = time.Since(w.began)
	w.all = append(w.all, Took{Name: name, At: w.last})
	w.in = true
	err := step(ctx)
	w.in = false
	now := &w.all[len(w.all)-1]
	now.Took = time.Since(w.began) - now.At
	return err
}

// Began is when the watch was started.
func (w *Watch) Began() time.Time { return w.began }

// Took is what the steps took until now.
func (w *Watch) Took() []Took { return w.all }

// End tells the context's observer; err is what the run ended with.
func (w *Watch) End(ctx context.Context, err error) {
	if o, ok := ctx.Value(observerKey{}).(Observer); ok {
		o.Ran(w.began, w.all, err)
	}
}

// Lap says that the time since the step began, or since its last lap, went to name. Only the
// goroutine that runs the step may call it. Outside of any step it does nothing.
func Lap(ctx context.Context, name string) {
	w, ok := ctx.Value(watchKey{}).(*Watch)
	if !ok || !w.in {
		return
	}
	at := w.last
	w.last = time.Since(w.began)
	now := &w.all[len(w.all)-1]
	now.Parts = append(now.Parts, Took{Name: name, At: at, Took: w.last - at})
}
