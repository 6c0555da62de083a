package containers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/recovery"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// Load reads the records and marks the images' layers as used. What did not parse is set aside with a warning.
func (c *Containers) Load() error {
	good, bad, empty, err := c.store.All()
	if err != nil {
		return err
	}
	for _, b := range bad {
		c.o.Log.WithField("container", b.ID).WithError(b.Err).Warn("container record set aside; what it left is cleaned")
	}
	for _, id := range empty { // a creation or a removal was cut off beside its record
		if err := c.store.Remove(id); err != nil {
			c.o.Log.WithField("container", id).WithError(err).Warn("directory without a record cannot be removed")
		}
	}
	for _, r := range good {
		v, boot, err := decode(r)
		if err != nil {
			err = errors.Join(err, c.store.SetAside(r.ID))
			c.o.Log.WithField("container", r.ID).WithError(err).Warn("container record does not parse and is set aside; what it left is cleaned")
			continue
		}
		lost := boot != c.o.BootID && !dead(v.State) && v.State != lifecycle.ContainerCreating
		if lost {
			lose(v)
		}
		e, end := c.inv.Restore(v.ID, key(v.PodID, v.Config), v), c.newEnd(v.ID)
		if lost { // once, with one time of its end
			err := e.SetEvenUnsaved(func(*Container) error { return nil })
			c.warnUnsaved(v.ID, err)
		}
		if dead(v.State) {
			end.close()
			end.told.Do(func() {}) // by an earlier agent, or by nobody who is there now
		}
		c.useAgain(v)
	}
	return nil
}

// useAgain marks the layers of a container of an earlier agent as used.
func (c *Containers) useAgain(v *Container) {
	ids := []string{v.ImageID}
	for _, volume := range v.VolumeImages {
		ids = append(ids, volume.ID)
	}
	for _, id := range ids {
		if _, err := c.o.Images.Use(id, v.ID); err != nil {
			c.o.Log.WithField("container", v.ID).WithError(err).Warn("image of the container is gone")
		}
	}
}

// lose makes a snapshot that of a container whose end nobody saw.
func lose(v *Container) {
	v.State = lifecycle.ContainerExited
	v.apply(runtime.Exit{Code: 255, Unknown: true, FinishedAt: time.Now()})
}

// Reconcile brings the records and what the monitor says together: exits that happened while no agent
// ran are applied, creations that were cut off are undone, and processes without a record are
// ended. live is the monitor's list.
func (c *Containers) Reconcile(ctx context.Context, live []runtime.Live) error {
	byID := map[string]*runtime.Live{}
	for i := range live {
		if !live[i].Holder && !live[i].Exec {
			byID[live[i].ID] = &live[i]
		}
	}
	var errs []error
	for _, v := range c.inv.List() {
		if err := c.reconcile(ctx, c.inv.Peek(v.ID), byID[v.ID]); err != nil {
			errs = append(errs, fmt.Errorf("container %s: %w", v.ID, err))
		}
		delete(byID, v.ID)
	}
	for id := range byID {
		if err := c.o.Runtime.Delete(ctx, id, ""); err != nil {
			errs = append(errs, fmt.Errorf("container %s, which has no record: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Containers) reconcile(ctx context.Context, e *inventory.Entry[Container], live *runtime.Live) error {
	v := e.Snapshot()
	switch recovery.Container(v.State, live) {
	case recovery.Undo:
		return c.undo(ctx, e)
	case recovery.Running, recovery.Waiting:
		return c.live(e, live)
	case recovery.Exited:
		c.Exited(*live.Exit)
	case recovery.Lost:
		c.Exited(runtime.Exit{ID: e.ID, Code: 255, Unknown: true, FinishedAt: time.Now()})
	case recovery.Reclaim:
		return c.delete(ctx, e)
	case recovery.Remove:
		return c.remove(ctx, e)
	}
	return nil
}

// live takes over what the monitor said of a process, unless it has exited since it was asked.
func (c *Containers) live(e *inventory.Entry[Container], live *runtime.Live) error {
	err := e.SetEvenUnsaved(func(v *Container) error {
		if dead(v.State) {
			return nil
		}
		v.Pid, v.State = live.Pid, lifecycle.ContainerCreated
		if live.Running {
			v.State = lifecycle.ContainerRunning
			if v.StartedAt.IsZero() {
				v.StartedAt = live.StartedAt
			}
		}
		return nil
	})
	return c.warnUnsaved(e.ID, err)
}
