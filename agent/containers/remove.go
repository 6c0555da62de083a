package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Remove ends the container if it still runs, and forgets it with its writable layer. It may be
// repeated; an unknown id is no error.
func (c *Containers) Remove(ctx context.Context, id string) error {
	e, err := c.inv.Find(id)
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.remove(ctx, e)
}

func (c *Containers) remove(ctx context.Context, e *inventory.Entry[Container]) error {
	release, err := e.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := c.killHeld(ctx, e); err != nil {
		return err
	}
	if err := c.note(e, lifecycle.ContainerRemove, nil); err != nil { // a full disk is what a removal may be for
		return err
	}
	if err := c.delete(ctx, e); err != nil {
		return fmt.Errorf("remove container %s: %w", e.ID, err)
	}
	c.hookRemove(ctx, e.Snapshot())
	if err := c.forget(e); err != nil {
		return fmt.Errorf("remove container %s: %w", e.ID, err)
	}
	return nil
}

// forget removes what a container has on disk, its record last, its hold on the image, and its entry.
func (c *Containers) forget(e *inventory.Entry[Container]) error {
	dir := c.o.Layout.ContainerDir(e.ID)
	for _, d := range []string{"upper", "work", "volumes"} {
		if err := os.RemoveAll(filepath.Join(dir, d)); err != nil {
			return err
		}
	}
	if err := e.Erase(c.store.Remove); err != nil {
		return err
	}
	c.o.Images.Release(e.ID)
	e.Drop()
	c.dropEnd(e.ID)
	return nil
}

// RemovePod removes every container of a pod. The caller holds the pod's slot.
func (c *Containers) RemovePod(ctx context.Context, podID string) error {
	return each(c.ofPod(podID), func(e *inventory.Entry[Container]) error { return c.remove(ctx, e) })
}
