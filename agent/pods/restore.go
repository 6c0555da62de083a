package pods

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
)

// Load reads the records. Pods of another boot come back as NotReady; what did not parse is
// set aside with a warning. Nothing is changed in the kernel yet.
func (p *Pods) Load() error {
	good, bad, _, err := p.store.All()
	if err != nil {
		return err
	}
	for _, b := range bad {
		p.o.Log.WithField("pod", b.ID).WithError(b.Err).Warn("pod record set aside; what it left is cleaned")
	}
	for _, r := range good {
		v, boot, err := decode(r)
		if err != nil {
			p.o.Log.WithField("pod", r.ID).WithError(err).Warn("pod record does not parse; what it left is cleaned")
			continue
		}
		rebooted := boot != p.o.BootID
		if rebooted {
			v.State, err = lifecycle.NextPod(v.State, lifecycle.PodDisappear)
			if err != nil {
				return err
			}
			v.NetNS, v.IPCNS, v.UTSNS, v.UserNS, v.PID = "", "", "", "", 0
		}
		e := p.inv.Restore(v.ID, Key(v.Config), v)
		if rebooted {
			p.rebooted[e] = true
		}
	}
	return nil
}

// NetworkPods are the loaded pods that hold addresses, for the network's own recovery.
func (p *Pods) NetworkPods() []network.Pod {
	var out []network.Pod
	for _, v := range p.inv.List() {
		if !v.HostNetwork() && v.NetNS != "" {
			out = append(out, networkPod(v))
		}
	}
	return out
}

// Finish completes or undoes, one by one, what the records say was under way, and cleans live state
// that belongs to no record. The containers must be loaded. A pod that cannot be finished
// is logged and stays as it is: the next Stop or Remove tries again.
func (p *Pods) Finish(ctx context.Context) {
	for _, v := range p.inv.List() {
		e := p.inv.Peek(v.ID)
		if err := p.finish(ctx, e); err != nil {
			p.o.Log.WithField("pod", v.ID).WithError(err).Warn("recovery of the pod is not complete")
		}
	}
	p.cleanStrays(ctx)
}

func (p *Pods) finish(ctx context.Context, e *inventory.Entry[Pod]) error {
	release, err := e.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	switch e.Snapshot().State {
	case lifecycle.PodCreating:
		err := p.undo(ctx, e)
		if err == nil {
			e.Drop()
		}
		return err
	case lifecycle.PodStopping:
		return p.stop(ctx, e)
	case lifecycle.PodRemoving:
		return p.remove(ctx, e)
	case lifecycle.PodNotReady:
		if !p.rebooted[e] {
			return nil // stopped in this boot, which gave everything back
		}
		if err := p.giveBack(ctx, e); err != nil {
			return err
		}
		delete(p.rebooted, e)
		return p.note(e, lifecycle.PodDisappear, nil) // with this boot's id: once is enough
	}
	return nil
}

// cleanStrays removes the live state and records' directories of pods that have no record.
func (p *Pods) cleanStrays(ctx context.Context) {
	for _, dir := range []string{filepath.Dir(p.o.Layout.PodState("x")), p.o.Layout.PodRecords()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.o.Log.WithError(err).Warn("strays cannot be looked for")
		}
		for _, entry := range entries {
			id := entry.Name()
			if p.inv.Peek(id) != nil {
				continue
			}
			if err := p.cleanStray(ctx, id); err != nil {
				p.o.Log.WithField("pod", id).WithError(err).Warn("stray pod state is not all gone")
			}
		}
	}
}

// cleanStray gives back what a pod without a readable record may have had.
func (p *Pods) cleanStray(ctx context.Context, id string) error {
	v := &Pod{ID: id, CgroupPath: filepath.Join(p.o.Layout.CgroupParent(), "pod"+id), OwnCgroup: true}
	if err := p.containers.RemovePod(ctx, id); err != nil {
		return err
	}
	return errors.Join(p.removeSandbox(ctx, v), p.removeFiles(id), p.store.Remove(id))
}
