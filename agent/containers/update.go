package containers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/ocispec"
)

// Update changes the resources of a created or running container, and what status reports of them.
// Fields that are zero stay as they are.
func (c *Containers) Update(ctx context.Context, id string, r *runtimeapi.LinuxContainerResources, annotations map[string]string) error {
	res, err := ocispec.Resources(r, c.o.Host)
	if err != nil {
		return err
	}
	var others func(context.Context) error
	err = c.held(ctx, id, func(e *inventory.Entry[Container]) (err error) {
		v := e.Snapshot()
		if v.State != lifecycle.ContainerCreated && v.State != lifecycle.ContainerRunning {
			return fmt.Errorf("update container %s: it is %s: %w", id, v.State, lifecycle.ErrState)
		}
		leave := c.o.Hooks.Enter(false)
		defer leave()
		var own *specs.LinuxResources
		if own, others, err = c.o.Hooks.UpdateContainer(ctx, v, res); err != nil {
			return fmt.Errorf("update container %s: %w", id, err)
		}
		undo, err := c.rescore(v, r)
		if err != nil {
			return fmt.Errorf("update container %s: linux.oom_score_adj: %w", id, err)
		}
		if err := c.o.Runtime.Update(ctx, v.CgroupPath, own); err != nil {
			return errors.Join(fmt.Errorf("update container %s: %w", id, err), undo())
		}
		err = e.Set(func(v *Container) error {
			v.Config = updated(v.Config, r, annotations)
			if own != res {
				v.Config = updated(v.Config, ocispec.Reported(v.Config.GetLinux().GetResources(), own), nil)
			}
			return nil
		})
		if err == nil {
			c.o.Hooks.PostUpdateContainer(ctx, e.Snapshot())
		}
		return err
	})
	if err != nil {
		return err
	}
	return others(ctx)
}

// rescore gives the main process another oom_score_adj where r has one, and returns how to take that back.
// The kubelet changes it along with a memory request.
func (c *Containers) rescore(v *Container, r *runtimeapi.LinuxContainerResources) (undo func() error, err error) {
	none := func() error { return nil }
	if r.GetOomScoreAdj() == 0 || r.GetOomScoreAdj() == v.Config.GetLinux().GetResources().GetOomScoreAdj() {
		return none, nil
	}
	if c.o.SetOOMScore == nil {
		return nil, lifecycle.ErrUnsupported
	}
	before, err := c.o.SetOOMScore(v.Pid, max(int(r.GetOomScoreAdj()), c.o.Host.OOMScoreMin))
	if err != nil {
		return nil, err
	}
	return func() error {
		_, err := c.o.SetOOMScore(v.Pid, before)
		return err
	}, nil
}

// updated is a copy of cfg with what r sets. Snapshots are immutable, so cfg stays.
func updated(cfg *runtimeapi.ContainerConfig, r *runtimeapi.LinuxContainerResources, annotations map[string]string) *runtimeapi.ContainerConfig {
	next := proto.CloneOf(cfg)
	if next.Linux == nil {
		next.Linux = &runtimeapi.LinuxContainerConfig{}
	}
	if next.Linux.Resources == nil {
		next.Linux.Resources = &runtimeapi.LinuxContainerResources{}
	}
	if r != nil {
		old := next.Linux.Resources.HugepageLimits
		next.Linux.Resources.HugepageLimits = nil // Merge would append to a list
		proto.Merge(next.Linux.Resources, r)
		next.Linux.Resources.HugepageLimits = mergeHugepages(old, next.Linux.Resources.HugepageLimits)
	}
	if len(annotations) > 0 {
		if next.Annotations == nil {
			next.Annotations = map[string]string{}
		}
		maps.Copy(next.Annotations, annotations)
	}
	return next
}

// mergeHugepages is old with the limits of changes, by page size, in old's order.
func mergeHugepages(old, changes []*runtimeapi.HugepageLimit) []*runtimeapi.HugepageLimit {
	for _, change := range changes {
		i := slices.IndexFunc(old, func(l *runtimeapi.HugepageLimit) bool { return l.GetPageSize() == change.GetPageSize() })
		if i < 0 {
			old = append(old, change)
		} else {
			old[i] = change
		}
	}
	return old
}

// ReopenLog makes the monitor open the log path anew, after a rotation by rename.
func (c *Containers) ReopenLog(ctx context.Context, id string) error {
	return c.held(ctx, id, func(e *inventory.Entry[Container]) error {
		if v := e.Snapshot(); v.State != lifecycle.ContainerRunning {
			return fmt.Errorf("reopen the log of container %s: it is %s: %w", id, v.State, lifecycle.ErrState)
		}
		return c.o.Runtime.ReopenLog(ctx, e.ID)
	})
}

// held runs f under the slot of a container that must exist.
func (c *Containers) held(ctx context.Context, id string, f func(*inventory.Entry[Container]) error) error {
	e, err := c.inv.Find(id)
	if err != nil {
		return err
	}
	release, err := e.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	return f(e)
}
