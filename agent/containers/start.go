package containers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/steps"
)

// startWait bounds what a start may take until its outcome is known. It goes on when its caller leaves:
// a gate that was opened cannot be closed again. The monitor's own bound is shorter.
const startWait = time.Minute

// startFailedCode is the exit code of a container whose program could not be executed, as the field has it.
const startFailedCode = 128

// Start opens the container's start gate. It returns when the program has been executed, or
// with the reason why it could not be. A retry after a time-out finds it running and is no error.
func (c *Containers) Start(ctx context.Context, id string) error {
	e, err := c.inv.Find(id)
	if err != nil {
		return err
	}
	release, err := e.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	v := e.Snapshot()
	pod, err := c.o.Pods.Get(v.PodID)
	if err != nil {
		return err
	}
	if pod.State != lifecycle.PodReady {
		return fmt.Errorf("start container %s: pod %s is %s: %w", id, pod.ID, pod.State, lifecycle.ErrState)
	}
	if v.State == lifecycle.ContainerRunning {
		return nil
	}
	leave := c.o.Hooks.Enter(false)
	defer leave()
	if err := c.hookStart(ctx, v); err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	defer c.hookStarted(ctx, e)
	w, ctx := steps.Begin(ctx, 2)
	err = c.start(ctx, w, e)
	w.End(ctx, err)
	return err
}

func (c *Containers) start(ctx context.Context, w *steps.Watch, e *inventory.Entry[Container]) error {
	if e.Snapshot().State != lifecycle.ContainerStarting { // an earlier call's intent is taken up where it ended
		err := w.Do(ctx, "record", func(context.Context) error { return c.move(e, lifecycle.ContainerStart) })
		if err != nil {
			return fmt.Errorf("start container %s: %w", e.ID, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startWait)
	defer cancel()
	var at time.Time
	err := w.Do(ctx, "exec", func(ctx context.Context) (err error) {
		at, err = c.o.Runtime.Start(ctx, e.ID)
		return err
	})
	if err != nil {
		return errors.Join(fmt.Errorf("start container %s: %w", e.ID, err), c.startFailed(ctx, e, err))
	}
	return c.note(e, lifecycle.ContainerStarted, func(v *Container) {
		v.StartCalled, v.StartTimeline = w.Began(), w.Took()
		if v.StartedAt.IsZero() {
			v.StartedAt = at
		}
	})
}

// note writes down an event that has happened, or goes on, whether it can be recorded or not. A
// record that fails is only logged: recovery sees the same from what the monitor says.
func (c *Containers) note(e *inventory.Entry[Container], event lifecycle.ContainerEvent, also func(*Container)) error {
	err := e.SetEvenUnsaved(func(v *Container) (err error) {
		if v.State, err = lifecycle.NextContainer(v.State, event); err == nil && also != nil {
			also(v)
		}
		return err
	})
	return c.warnUnsaved(e.ID, err)
}

// warnUnsaved logs an inventory.ErrUnsaved and returns any other error.
func (c *Containers) warnUnsaved(id string, err error) error {
	if !errors.Is(err, inventory.ErrUnsaved) {
		return err
	}
	c.o.Log.WithField("container", id).WithError(err).Warn("state could not be recorded")
	return nil
}

func (c *Containers) move(e *inventory.Entry[Container], event lifecycle.ContainerEvent) error {
	return e.Set(func(v *Container) (err error) {
		v.State, err = lifecycle.NextContainer(v.State, event)
		return err
	})
}

// startFailed records why the program did not run. When the monitor could not be asked, or did
// not answer in time, nothing is known yet: the state stays, and a retry takes it up.
func (c *Containers) startFailed(ctx context.Context, e *inventory.Entry[Container], cause error) error {
	if ctx.Err() != nil || errors.Is(cause, lifecycle.ErrUnavailable) {
		return nil
	}
	return c.note(e, lifecycle.ContainerStartFailed, func(v *Container) {
		v.ExitCode, v.Reason, v.Message, v.Pid = startFailedCode, StartError, cause.Error(), 0
		if v.FinishedAt.IsZero() {
			v.FinishedAt = time.Now()
		}
	})
}
