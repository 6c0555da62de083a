package containers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/ocispec"
)

// killWait is how long a killed process may take to be gone; only one stuck in the kernel takes longer.
const killWait = 30 * time.Second

// Stop sends the container's stop signal, waits for at most grace, and kills what is left. The slot is
// not held while it waits. It may be repeated; an unknown id is no error.
func (c *Containers) Stop(ctx context.Context, id string, grace time.Duration) error {
	e, err := c.inv.Find(id)
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if grace > 0 {
		exited, err := c.signal(ctx, e, grace)
		if exited {
			c.hookStop(ctx, e.Snapshot(), c.end(e.ID))
		}
		if err != nil || exited {
			return err
		}
	}
	return c.kill(ctx, e)
}

// signal sends the stop signal and waits without the slot; true means that it has exited.
func (c *Containers) signal(ctx context.Context, e *inventory.Entry[Container], grace time.Duration) (bool, error) {
	release, err := e.Acquire(ctx)
	if err != nil {
		return false, err
	}
	v := e.Snapshot()
	started := v.State == lifecycle.ContainerRunning ||
		v.State == lifecycle.ContainerStarting // of a start whose outcome is unknown
	if started {
		err = c.sendStopSignal(ctx, v)
	}
	release()
	if !started {
		return dead(v.State), nil // it has nothing to say goodbye to
	}
	if err != nil && !errors.Is(err, lifecycle.ErrNotFound) {
		return false, fmt.Errorf("signal container %s: %w", e.ID, err)
	}
	return c.waitExit(ctx, e.ID, grace)
}

func (c *Containers) sendStopSignal(ctx context.Context, v *Container) error {
	sig, err := ocispec.Signal(v.StopSignal)
	if err != nil {
		return err
	}
	return c.o.Runtime.Signal(ctx, v.ID, sig)
}

func dead(s lifecycle.ContainerState) bool {
	return s == lifecycle.ContainerExited || s == lifecycle.ContainerRemoving
}

// kill ends the container whatever state it is in, and waits until its exit is recorded.
func (c *Containers) kill(ctx context.Context, e *inventory.Entry[Container]) error {
	release, err := e.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	return c.killHeld(ctx, e)
}

// killHeld is kill under the container's slot.
func (c *Containers) killHeld(ctx context.Context, e *inventory.Entry[Container]) error {
	v := e.Snapshot()
	if dead(v.State) {
		c.hookStop(ctx, v, c.end(e.ID))
		return nil
	}
	if err := c.o.Runtime.KillAll(ctx, e.ID, v.CgroupPath); err != nil && !errors.Is(err, lifecycle.ErrNotFound) {
		return fmt.Errorf("kill container %s: %w", e.ID, err)
	}
	exited, err := c.waitExit(ctx, e.ID, killWait)
	if err != nil {
		return err
	}
	if !exited {
		return fmt.Errorf("container %s was killed but is not gone after %s: %w", e.ID, killWait, lifecycle.ErrTimeout)
	}
	c.hookStop(ctx, e.Snapshot(), c.end(e.ID))
	return nil
}

// StopPod ends every container of a pod at once, without grace. The caller holds the pod's slot.
func (c *Containers) StopPod(ctx context.Context, podID string) error {
	return each(c.ofPod(podID), func(e *inventory.Entry[Container]) error {
		if err := c.kill(ctx, e); err != nil {
			return err
		}
		return c.delete(ctx, e) // the pod's cgroup goes next, so this one must be gone
	})
}

// each calls f for all entries side by side and joins the errors.
func each(all []*inventory.Entry[Container], f func(*inventory.Entry[Container]) error) error {
	if len(all) == 1 {
		return f(all[0])
	}
	errs := make(chan error, len(all))
	for _, e := range all {
		go func() { errs <- f(e) }()
	}
	var joined []error
	for range all {
		joined = append(joined, <-errs)
	}
	return errors.Join(joined...)
}
