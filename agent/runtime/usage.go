package runtime

import (
	"context"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/cgroups"
)

// Usage reads a cgroup once. lifecycle.ErrNotFound where there is none.
func (r *Runtime) Usage(cgroupPath string) (*Usage, error) {
	cg, err := cgroups.Open(cgroupPath)
	if err != nil {
		return nil, err
	}
	u, err := cg.Usage()
	if err != nil {
		return nil, cgroupError(cgroupPath, err)
	}
	return fromCgroup(u), nil
}

func fromCgroup(u *cgroups.Usage) *Usage {
	out := &Usage{
		At: u.At, CPUNanos: u.CPUNanos, MemoryBytes: u.Memory, WorkingSetBytes: u.WorkingSet(), RSSBytes: u.RSS,
		PageFaults: u.PageFaults, MajorPageFaults: u.MajorPageFaults, SwapBytes: u.Swap, Pids: u.Pids,
		AvailableBytes: left(u.MemoryLimit, out(u.WorkingSet())),
	}
	if u.Swap != nil {
		out.SwapAvailableBytes = left(u.SwapLimit, u.Swap)
	}
	if u.CPUPressure != nil || u.MemoryPressure != nil || u.IOPressure != nil {
		out.PSI = &PSI{CPU: psiPair(u.CPUPressure), Memory: psiPair(u.MemoryPressure), IO: psiPair(u.IOPressure)}
	}
	return out
}

func out(v uint64) *uint64 { return &v }

// left is limit less used, not below zero; nil without a limit.
func left(limit, used *uint64) *uint64 {
	if limit == nil {
		return nil
	}
	return out(*limit - min(*limit, *used))
}

func psiPair(p *cgroups.Pressure) PSIPair {
	if p == nil {
		return PSIPair{}
	}
	line := func(l cgroups.PressureLine) PSILine {
		return PSILine{Total: l.Total, Avg10: l.Avg10, Avg60: l.Avg60, Avg300: l.Avg300}
	}
	return PSIPair{Some: line(p.Some), Full: line(p.Full)}
}

// Update changes the limits that res has; the others stay.
func (r *Runtime) Update(_ context.Context, cgroupPath string, res *specs.LinuxResources) error {
	cg, err := cgroups.Open(cgroupPath)
	if err != nil {
		return err
	}
	return cgroupError(cgroupPath, cg.Update(res))
}

// Pause freezes every process of the cgroup; Resume lets them run again.
func (r *Runtime) Pause(ctx context.Context, cgroupPath string) error {
	cg, err := cgroups.Open(cgroupPath)
	if err != nil {
		return err
	}
	return cgroupError(cgroupPath, cg.Freeze(ctx))
}

// Resume undoes Pause.
func (r *Runtime) Resume(_ context.Context, cgroupPath string) error {
	cg, err := cgroups.Open(cgroupPath)
	if err != nil {
		return err
	}
	return cgroupError(cgroupPath, cg.Thaw())
}

func cgroupError(path string, err error) error {
	if err != nil && cgroups.Gone(err) {
		if cg, e := cgroups.Open(path); e == nil && !cg.Exists() {
			return fmt.Errorf("cgroup %s: %w: %w", path, lifecycle.ErrNotFound, err)
		}
	}
	return err
}
