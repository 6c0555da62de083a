// Package steps runs the steps of a verb in order, and takes back those that were done, last
// first, when one fails. A step undoes its own half-done work when it fails itself.
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

// Took is how long one step took.
type Took struct {
	Name string        `json:"name"`
	At   time.Duration `json:"at"` // since the first step began
	Took time.Duration `json:"took"`
}

// Run runs the steps and returns what each took. On failure the error names the step, and
// holds what went wrong on the way back as well.
func Run(ctx context.Context, all []Step) ([]Took, error) {
	began := time.Now()
	times := make([]Took, 0, len(all))
	for i, s := range all {
		at := time.Since(began)
		err := context.Cause(ctx)
		if err == nil {
			err = s.Do(ctx)
		}
		times = append(times, Took{Name: s.Name, At: at, Took: time.Since(began) - at})
		if err != nil {
			err = fmt.Errorf("%s: %w", s.Name, err)
			return times, errors.Join(err, undo(ctx, all[:i]))
		}
	}
	return times, nil
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
