// Package steps runs the steps of a verb in order, takes back those that were done, last
// first, when one fails, and keeps what each took. A step undoes its own half-done work when it
// fails itself. Who wants to watch every run (metrics, traces) puts an Observer into the context.
package steps

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// UndoTimeout bounds the way back as a whole; it does not end with the caller.
const UndoTimeout = 30 * time.Second

// Step is one step. Undo may be nil where there is nothing to take back.
type Step struct {
	Name string
	Do   func(context.Context) error
	Undo func(context.Context) error
}

// Run runs the steps and returns what each took. On failure the error names the step, and
// holds what went wrong on the way back as well.
func Run(ctx context.Context, all []Step) ([]Took, error) {
	w, ctx := Begin(ctx, len(all))
	for i, s := range all {
		err := w.Do(ctx, s.Name, func(ctx context.Context) error {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			return s.Do(ctx)
		})
		if err != nil {
			err = fmt.Errorf("%s: %w", s.Name, err)
			w.End(ctx, err)
			return w.Took(), errors.Join(err, undo(ctx, all[:i]))
		}
	}
	w.End(ctx, nil)
	return w.Took(), nil
}

func undo(ctx context.Context, done []Step) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), UndoTimeout)
	defer cancel()
	var errs []error
	for i := len(done) - 1; i >= 0; i-- {
		if done[i].Undo == nil {
			continue
		}
		if err := done[i].Undo(ctx); err != nil {
			errs = append(errs, fmt.Errorf("undo %s: %w", done[i].Name, err))
		}
	}
	return errors.Join(errs...)
}
