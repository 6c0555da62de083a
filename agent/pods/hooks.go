package pods

import (
	"context"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/inventory"
)

// Hooks are told of the steps of a pod's life, and may object to its beginning.
type Hooks interface {
	// Enter says that until leave is called, what hooks are told and what lists show belong together: nobody
	// who joins later sees one without the other. first marks the beginning of a pod or container.
	Enter(first bool) (leave func())
	// RunPod is told of a pod that is ready but not listed yet. Its error undoes the pod; whoever was told
	// of it has then been told of its end.
	RunPod(ctx context.Context, v *Pod) error
	// UpdatePod comes before new limits are applied, PostUpdatePod after.
	UpdatePod(ctx context.Context, v *Pod, overhead, resources *specs.LinuxResources) error
	PostUpdatePod(ctx context.Context, v *Pod)
	// StopPod is told once all containers have ended and everything else is still there.
	StopPod(ctx context.Context, v *Pod)
	RemovePod(ctx context.Context, v *Pod)
}

// noHooks is what pods have without any.
type noHooks struct{}

func (noHooks) Enter(bool) func()                  { return func() {} }
func (noHooks) RunPod(context.Context, *Pod) error { return nil }
func (noHooks) UpdatePod(context.Context, *Pod, *specs.LinuxResources, *specs.LinuxResources) error {
	return nil
}
func (noHooks) PostUpdatePod(context.Context, *Pod) {}
func (noHooks) StopPod(context.Context, *Pod)       {}
func (noHooks) RemovePod(context.Context, *Pod)     {}

// hookRun tells of a pod that is ready. The gate that it enters is left once the pod is listed, or gone.
func (p *Pods) hookRun(ctx context.Context, e *inventory.Entry[Pod]) error {
	e.AfterMake(p.o.Hooks.Enter(true))
	return p.o.Hooks.RunPod(ctx, e.Snapshot())
}

// hookStop tells of a pod's stop once, however often the stop is tried.
func (p *Pods) hookStop(ctx context.Context, v *Pod) {
	if _, told := p.told.LoadOrStore(v.ID, true); told {
		return
	}
	leave := p.o.Hooks.Enter(false)
	defer leave()
	p.o.Hooks.StopPod(ctx, v)
}

// hookRemove tells of a pod's end.
func (p *Pods) hookRemove(ctx context.Context, v *Pod) {
	p.hookStop(ctx, v) // of a pod that is undone
	leave := p.o.Hooks.Enter(false)
	defer leave()
	p.o.Hooks.RemovePod(ctx, v)
	p.told.Delete(v.ID)
}
