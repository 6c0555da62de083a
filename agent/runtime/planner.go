package runtime

import (
	"errors"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/plan"
	"github.com/slipway-cri/slipway/oci/seccomp"
	"github.com/slipway-cri/slipway/oci/spec"
)

// filters is how many compiled seccomp programs are kept; a node has a handful.
const filters = 32

// planner is oci/plan with what this machine adds to every plan.
type planner struct{ options plan.Options }

func newPlanner(h Host) planner {
	return planner{options: plan.Options{
		LastCap: h.lastCap, AllowedCaps: h.bounding, CgroupV2: h.CgroupV2,
		Seccomp: seccomp.NewCache(filters), Features: h.features,
	}}
}

func (p planner) container(s ContainerSpec) (*plan.Plan, error) {
	if s.Spec == nil {
		return nil, fmt.Errorf("runtime-spec: missing: %w", lifecycle.ErrInvalid)
	}
	if err := spec.Validate(s.Spec); err != nil {
		return nil, specError(err)
	}
	o := p.options
	o.Rootfs, o.Layers = rootfs(s), s.Layers
	out, err := plan.Make(s.Spec, o)
	if err != nil {
		return nil, specError(err)
	}
	if out.Cgroup == "" {
		return nil, fmt.Errorf("runtime-spec: linux.cgroupsPath: missing: %w", lifecycle.ErrInvalid)
	}
	return out, nil
}

func (p planner) exec(e ExecSpec, s *specs.Spec) (*plan.Plan, error) {
	if e.Process == nil {
		return nil, fmt.Errorf("process of an exec: missing: %w", lifecycle.ErrInvalid)
	}
	if err := spec.ValidateProcess(e.Process); err != nil {
		return nil, specError(err)
	}
	out, err := plan.Exec(s, e.Process, p.options)
	if err != nil {
		return nil, specError(err)
	}
	return out, nil
}

// specError gives the oci packages' errors the agent's kinds.
func specError(err error) error {
	kind := lifecycle.ErrInvalid
	if errors.Is(err, spec.ErrUnsupported) {
		kind = lifecycle.ErrUnsupported
	}
	return fmt.Errorf("runtime-spec: %w: %w", err, kind)
}
