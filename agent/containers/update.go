package containers

import (
	"context"
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
// Fields that are zero stay as they are. It is done as a whole or not at all.
func (c *Containers) Update(ctx context.Context, id string, r *runtimeapi.LinuxContainerResources, annotations map[string]string) error {
	var others func(context.Context) error
	err := c.held(ctx, id, func(e *inventory.Entry[Container]) (err error) {
		v := e.Snapshot()
		if v.State != lifecycle.ContainerCreated && v.State != lifecycle.ContainerRunning {
			return fmt.Errorf("update container %s: it is %s: %w", id, v.State, lifecycle.ErrState)
		}
		res, err := ocispec.Resources(complete(v.Config.GetLinux().GetResources(), r), c.o.Host)
		if err != nil {
			return err
		}
		if res.Memory != nil {
			res.Memory.CheckBeforeUpdate = &check
		}
		leave := c.o.Hooks.Enter(false)
		defer leave()
		var own *specs.LinuxResources
		if own, others, err = c.o.Hooks.UpdateContainer(ctx, v, res); err != nil {
			return fmt.Errorf("update container %s: %w", id, err)
		}
		err = c.apply(ctx, e, own, c.oomScore(v, r), func(v *Container) error {
			v.Config = updated(v.Config, r, annotations)
			if own != res {
				v.Config = updated(v.Config, ocispec.Reported(v.Config.GetLinux().GetResources(), own), nil)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("update container %s: %w", id, err)
		}
		c.o.Hooks.PostUpdateContainer(ctx, e.Snapshot())
		return nil
	})
	if err != nil {
		return err
	}
	return others(ctx)
}

// check asks for a refusal where a lower limit of memory would kill the container at once (cgroup v2; v1 refuses by itself).
var check = true

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
