package runtime

import (
	"context"
	"errors"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/oci/cgroups"
)

// OOMScore is another oom_score_adj for a container: of its main process, and of those that have the same as that.
type OOMScore struct{ Pid, Adj int }

// Change is Update as a transaction, with another OOM score where score is not nil: on error
// everything is as it was. undo takes the whole change back. lifecycle.ErrNotFound where there is no cgroup.
func (r *Runtime) Change(_ context.Context, cgroupPath string, res *specs.LinuxResources, score *OOMScore) (undo func() error, err error) {
	cg, err := cgroups.Open(cgroupPath)
	if err != nil {
		return nil, err
	}
	limits, err := cg.Change(res)
	if err != nil {
		return nil, cgroupError(cgroupPath, err)
	}
	if limits == nil {
		limits = func() error { return nil }
	}
	if score == nil {
		return limits, nil
	}
	scores, err := cg.SetOOMScore(score.Pid, score.Adj)
	if err != nil {
		return nil, errors.Join(cgroupError(cgroupPath, err), limits())
	}
	return func() error { return errors.Join(scores(), limits()) }, nil
}
