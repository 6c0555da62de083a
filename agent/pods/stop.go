package pods

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Stop ends the pod's containers without grace and gives back its network, namespaces and
// cgroup. It may be repeated, and finishes what an earlier call began. An unknown id is no error.
func (p *Pods) Stop(ctx context.Context, id string) error {
	e, err := p.inv.Find(id)
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	release, err := e.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	return p.stop(ctx, e)
}

// stop runs under the pod's slot.
func (p *Pods) stop(ctx context.Context, e *inventory.Entry[Pod]) error {
	if s := e.Snapshot().State; s == lifecycle.PodNotReady || s == lifecycle.PodRemoving {
		return nil
	}
	if err := p.note(e, lifecycle.PodStop, nil); err != nil {
		return err
	}
	if err := p.giveBack(ctx, e); err != nil {
		return fmt.Errorf("stop pod %s: %w", e.ID, err)
	}
	return p.note(e, lifecycle.PodStopped, func(v *Pod) {
		v.NetNS, v.IPCNS, v.UTSNS, v.PID = "", "", "", 0
	})
}

// note writes an event down. A record that fails is only logged: a stop or removal is what makes room on a full
// disk, and the same call or the next start takes up what was not recorded.
func (p *Pods) note(e *inventory.Entry[Pod], event lifecycle.PodEvent, also func(*Pod)) error {
	err := e.SetEvenUnsaved(func(v *Pod) (err error) {
		if v.State, err = lifecycle.NextPod(v.State, event); err == nil && also != nil {
			also(v)
		}
		return err
	})
	if errors.Is(err, inventory.ErrUnsaved) {
		p.o.Log.WithField("pod", e.ID).WithError(err).Warn("state could not be recorded")
		return nil
	}
	return err
}

// giveBack takes down everything but the record and the containers' own. Each part may be
// repeated, and one that fails does not keep the others from being tried.
func (p *Pods) giveBack(ctx context.Context, e *inventory.Entry[Pod]) error {
	v := e.Snapshot()
	if err := p.containers.StopPod(ctx, v.ID); err != nil {
		return err // their namespaces and mounts are still in use
	}
	p.hookStop(ctx, v)
	var errs []error
	if !v.HostNetwork() {
		if err := p.o.Network.Teardown(ctx, networkPod(v)); err != nil {
			errs = append(errs, fmt.Errorf("network: %w", err))
		}
	}
	if err := p.removeSandbox(ctx, v); err != nil {
		errs = append(errs, fmt.Errorf("namespaces: %w", err))
	}
	if err := p.removeFiles(v.ID); err != nil {
		errs = append(errs, fmt.Errorf("files: %w", err))
	}
	return errors.Join(errs...)
}

// Remove stops the pod if need be, removes its containers and forgets it. An unknown id is no error.
func (p *Pods) Remove(ctx context.Context, id string) error {
	e, err := p.inv.Find(id)
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	release, err := e.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := p.stop(ctx, e); err != nil {
		return err
	}
	return p.remove(ctx, e)
}

// remove runs under the slot of a pod that is stopped.
func (p *Pods) remove(ctx context.Context, e *inventory.Entry[Pod]) error {
	if err := p.note(e, lifecycle.PodRemove, nil); err != nil {
		return err
	}
	if err := p.containers.RemovePod(ctx, e.ID); err != nil {
		return fmt.Errorf("remove pod %s: %w", e.ID, err)
	}
	p.hookRemove(ctx, e.Snapshot())
	if err := e.Erase(p.store.Remove); err != nil {
		return fmt.Errorf("remove pod %s: %w", e.ID, err)
	}
	e.Drop()
	return nil
}

// undo takes back a start that cannot be kept: in Run when the last record fails, in recovery.
func (p *Pods) undo(ctx context.Context, e *inventory.Entry[Pod]) error {
	if err := p.giveBack(ctx, e); err != nil {
		return err
	}
	p.hookRemove(ctx, e.Snapshot())
	return e.Erase(p.store.Remove)
}
