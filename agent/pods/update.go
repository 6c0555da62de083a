package pods

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/ocispec"
)

// Update takes down what a ready pod's containers may use in sum, and the overhead on top; nil for either
// leaves it. The pod's cgroup is changed where it is the agent's own. A kubelet has its own changed
// already when it calls, so there the change is only recorded.
func (p *Pods) Update(ctx context.Context, id string, overhead, resources *runtimeapi.LinuxContainerResources) error {
	e, err := p.inv.Find(id)
	if err != nil {
		return err
	}
	release, err := e.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	v := e.Snapshot()
	if v.State != lifecycle.PodReady {
		return fmt.Errorf("update pod %s: it is %s: %w", v.ID, v.State, lifecycle.ErrState)
	}
	leave := p.o.Hooks.Enter(false)
	defer leave()
	cfg := resized(v.Config, overhead, resources)
	undo, err := p.resize(ctx, v, cfg)
	if err != nil {
		return fmt.Errorf("update pod %s: %w", v.ID, err)
	}
	if err := e.Set(func(v *Pod) error { v.Config = cfg; return nil }); err != nil {
		return errors.Join(err, undo())
	}
	p.o.Hooks.PostUpdatePod(ctx, e.Snapshot())
	return nil
}

// resize tells the hooks and changes the pod's own cgroup.
func (p *Pods) resize(ctx context.Context, v *Pod, cfg *runtimeapi.PodSandboxConfig) (undo func() error, err error) {
	sum, err := ocispec.PodResources(cfg, p.o.Host)
	if err != nil {
		return nil, err
	}
	all := ocispec.Host{CgroupV2: true, Swap: true} // what hooks are told of is the request, not this machine
	overhead, err := ocispec.Resources(cfg.GetLinux().GetOverhead(), all)
	if err != nil {
		return nil, fmt.Errorf("overhead: %w", err)
	}
	resources, err := ocispec.Resources(cfg.GetLinux().GetResources(), all)
	if err != nil {
		return nil, fmt.Errorf("resources: %w", err)
	}
	if err := p.o.Hooks.UpdatePod(ctx, v, overhead, resources); err != nil {
		return nil, err
	}
	if !v.OwnCgroup || sum == nil {
		return func() error { return nil }, nil
	}
	return p.o.Runtime.Change(ctx, v.CgroupPath, sum, nil)
}

// resized is a copy of cfg with other resources. Snapshots are immutable, so cfg stays.
func resized(cfg *runtimeapi.PodSandboxConfig, overhead, resources *runtimeapi.LinuxContainerResources) *runtimeapi.PodSandboxConfig {
	next := proto.CloneOf(cfg)
	if next.Linux == nil {
		next.Linux = &runtimeapi.LinuxPodSandboxConfig{}
	}
	if overhead != nil {
		next.Linux.Overhead = overhead
	}
	if resources != nil {
		next.Linux.Resources = resources
	}
	return next
}
