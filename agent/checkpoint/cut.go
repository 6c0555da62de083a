package checkpoint

import (
	"context"
	"errors"
	"fmt"
)

// Freezer stops and continues what is in a cgroup.
type Freezer interface {
	// Freeze returns when everything has stopped; what it stopped before an error may stay so.
	Freeze(ctx context.Context, cgroup string) error
	// Thaw of what is not frozen is no error.
	Thaw(cgroup string) error
}

// Cut freezes every cgroup before it captures the first, keeps all of them frozen until the last is captured, and
// thaws all of them before it returns, also after an error, a panic or the end of ctx: CRI's CheckpointPod. capture
// gets the cgroup's place in the list. A thaw that fails does not keep the others from theirs.
func Cut(ctx context.Context, f Freezer, cgroups []string, capture func(ctx context.Context, i int) error) (err error) {
	tried := 0
	defer func() {
		for _, cg := range cgroups[:tried] {
			if e := f.Thaw(cg); e != nil {
				err = errors.Join(err, fmt.Errorf("thaw %s: %w", cg, e))
			}
		}
	}()
	for _, cg := range cgroups {
		tried++ // a freeze that fails half-way has stopped some already
		if err := f.Freeze(ctx, cg); err != nil {
			return fmt.Errorf("freeze %s: %w", cg, err)
		}
	}
	for i := range cgroups {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := capture(ctx, i); err != nil {
			return err
		}
	}
	return ctx.Err()
}
