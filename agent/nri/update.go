package nri

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/nri/pkg/adaptation"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// update carries out updates of containers other than the one that an event is about. One that fails ends it,
// unless its plugin said that it may fail.
func (n *NRI) update(ctx context.Context, updates []*adaptation.ContainerUpdate) error {
	for _, u := range updates {
		if err := n.updateOne(ctx, u); err != nil && !u.GetIgnoreFailure() {
			return fmt.Errorf("update of container %s: %w", u.GetContainerId(), err)
		}
	}
	return nil
}

func (n *NRI) updateOne(ctx context.Context, u *adaptation.ContainerUpdate) error {
	r, err := n.resources(u.GetLinux().GetResources())
	if err != nil {
		return err
	}
	v, err := n.containers.Get(u.GetContainerId())
	if err != nil {
		return err
	}
	return n.containers.Adjust(ctx, v.ID, r)
}

// evict stops containers at once: a plugin that evicts needs what they hold.
func (n *NRI) evict(ctx context.Context, evictions []*adaptation.ContainerEviction) error {
	for _, e := range evictions {
		n.o.Log.WithField("container", e.GetContainerId()).WithField("reason", e.GetReason()).Info("NRI: a plugin evicts the container")
		if err := n.containers.Stop(ctx, e.GetContainerId(), 0); err != nil {
			return fmt.Errorf("eviction of container %s: %w", e.GetContainerId(), err)
		}
	}
	return nil
}

// unsolicited is adaptation's UpdateFn: it returns the updates that failed. The time is less than what a plugin
// has for an event: it may ask from inside one whose container is the one to update.
func (n *NRI) unsolicited(ctx context.Context, updates []*adaptation.ContainerUpdate) ([]*adaptation.ContainerUpdate, error) {
	ctx, cancel := context.WithTimeout(ctx, n.o.RequestTimeout/2)
	defer cancel()
	var failed []*adaptation.ContainerUpdate
	var errs []error
	for _, u := range updates {
		if err := n.updateOne(ctx, u); err != nil && !u.GetIgnoreFailure() {
			failed = append(failed, u)
			errs = append(errs, fmt.Errorf("update of container %s: %w", u.GetContainerId(), err))
		}
	}
	return failed, errors.Join(errs...)
}

// synchronize is adaptation's SyncFn: nobody is inside the gate, so what lists show is what events told. What the
// plugin then wants changed takes slots, whose holders may be waiting at the gate: it is done beside.
func (n *NRI) synchronize(ctx context.Context, tell adaptation.SyncCB) error {
	var ps []*adaptation.PodSandbox
	all := n.containers.List()
	known := map[string]bool{}
	for _, p := range n.pods.List() {
		if p.State == lifecycle.PodReady || p.State == lifecycle.PodStopping || p.State == lifecycle.PodNotReady {
			known[p.ID] = true
			ps = append(ps, podMessage(p))
		}
	}
	slices.SortFunc(all, func(a, b *containers.Container) int { return a.CreatedAt.Compare(b.CreatedAt) })
	var cs []*adaptation.Container
	for _, c := range all {
		if known[c.PodID] && alive(c.State) {
			cs = append(cs, n.message(c))
		}
	}
	updates, err := tell(ctx, ps, cs)
	if err != nil {
		return err
	}
	if len(updates) > 0 {
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.o.RequestTimeout)
			defer cancel()
			if err := n.update(ctx, updates); err != nil {
				n.o.Log.WithError(err).Warn("NRI: what a plugin wanted at its synchronization is not all done")
			}
		}()
	}
	return nil
}

// alive says whether a container holds resources that a plugin may manage.
func alive(s lifecycle.ContainerState) bool {
	return s == lifecycle.ContainerCreated || s == lifecycle.ContainerStarting || s == lifecycle.ContainerRunning
}
