package containers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// reclaimTimeout bounds what is given back after an exit.
const reclaimTimeout = 30 * time.Second

// Exited applies an exit. It takes no slot, since a verb that waits for the exit may hold it; the
// runtime calls it for one exit after the other.
func (c *Containers) Exited(x runtime.Exit) {
	e, end := c.inv.Peek(x.ID), c.end(x.ID)
	if e == nil || e.Snapshot() == nil || end == nil {
		return // its creation is undone
	}
	log := c.o.Log.WithField("container", x.ID)
	err := e.SetEvenUnsaved(func(v *Container) (err error) {
		if v.State, err = lifecycle.NextContainer(v.State, lifecycle.ContainerExit); err != nil {
			return err
		}
		if v.FinishedAt.IsZero() {
			v.apply(x)
		}
		return nil
	})
	if err != nil && !errors.Is(err, lifecycle.ErrNotFound) { // which is: it is being removed
		log.WithError(err).Warn("exit could not be recorded")
	}
	end.close()
	log.WithField("code", x.Code).Debug("container exited")
	go c.reclaim(e)
	if c.o.Hooks != (noHooks{}) {
		go c.hookStop(context.Background(), e.Snapshot(), end)
	}
}

// apply writes an exit into a snapshot.
func (v *Container) apply(x runtime.Exit) {
	v.Pid, v.ExitCode, v.FinishedAt = 0, x.Code, x.FinishedAt
	if v.FinishedAt.IsZero() {
		v.FinishedAt = time.Now() // it says that an exit was applied, so it must be set
	}
	if v.StartedAt.IsZero() {
		v.StartedAt = x.StartedAt
	}
	switch {
	case x.Unknown:
		v.Reason, v.Message = "Unknown", "how the process ended cannot be known"
	case x.OOMKilled:
		v.Reason = "OOMKilled"
	case x.Code == 0:
		v.Reason = "Completed"
	default:
		v.Reason = "Error"
	}
}

// reclaim gives back what an exited container still has in the kernel, processes that it left
// in its cgroup included. It may be repeated.
func (c *Containers) reclaim(e *inventory.Entry[Container]) {
	ctx, cancel := context.WithTimeout(context.Background(), reclaimTimeout)
	defer cancel()
	if err := c.delete(ctx, e); err != nil {
		c.o.Log.WithField("container", e.ID).WithError(err).Warn("exited container is not all reclaimed; its removal tries again")
	}
}

func (c *Containers) delete(ctx context.Context, e *inventory.Entry[Container]) error {
	end := c.end(e.ID)
	if end == nil {
		return nil // forgotten, which comes after a Delete
	}
	end.reclaim.Lock()
	defer end.reclaim.Unlock()
	return c.o.Runtime.Delete(ctx, e.ID, e.Snapshot().CgroupPath)
}

// waitExit waits until the container's exit is recorded, for at most d; true means it is.
func (c *Containers) waitExit(ctx context.Context, id string, d time.Duration) (bool, error) {
	end := c.end(id)
	if end == nil {
		return true, nil // removed meanwhile
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-end.exited:
		return true, nil
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, fmt.Errorf("wait for the end of container %s: %w", id, context.Cause(ctx))
	}
}
