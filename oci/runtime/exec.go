package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/oci/cgroups"
	"github.com/slipway-cri/slipway/oci/container"
	"github.com/slipway-cri/slipway/oci/plan"
	"github.com/slipway-cri/slipway/oci/spec"
)

// ExecOptions are what the process does not say; see CreateOptions.
type ExecOptions struct {
	Stdio         [3]*os.File
	ConsoleSocket string
	PidFile       string
	NoNewKeyring  bool
}

// Process is what an Exec runs, a child of the caller.
type Process struct{ Pid int }

// Wait waits for its end and reaps it.
func (p *Process) Wait(ctx context.Context) (syscall.WaitStatus, error) { return wait(ctx, p.Pid) }

// Exec runs p in container id, which is created or running, and answers when it has exec'd. What p leaves
// open is the container's (plan.Exec). On error nothing is left; a missing program is a
// *container.InitError with ENOENT.
func (r *Runtime) Exec(ctx context.Context, id string, p *specs.Process, o ExecOptions) (*Process, error) {
	if err := spec.ValidateProcess(p); err != nil {
		return nil, err
	}
	if err := checkTerminal(p.Terminal, o.ConsoleSocket); err != nil {
		return nil, err
	}
	var out *Process
	err := r.in(ctx, id, func(b *box, rec *record) error {
		s, err := b.spec()
		if err != nil {
			return err
		}
		opts := r.options
		opts.KeepKeyring = o.NoNewKeyring
		pl, err := plan.Exec(s, p, opts)
		if err != nil {
			return err
		}
		out, err = r.exec(ctx, rec, pl, p.Terminal, o)
		if err != nil {
			return fmt.Errorf("exec in %s: %w", id, err)
		}
		return nil
	}, specs.StateCreated, specs.StateRunning)
	return out, err
}

func (r *Runtime) exec(ctx context.Context, rec *record, pl *plan.Plan, terminal bool, o ExecOptions) (_ *Process, err error) {
	target, err := rec.Process.open()
	if errors.Is(err, errEnded) {
		return nil, fmt.Errorf("%w: %w", err, ErrState)
	}
	if err != nil {
		return nil, err
	}
	defer target.Close()
	var to console
	if o.ConsoleSocket != "" {
		if to, err = dialConsole(o.ConsoleSocket); err != nil {
			return nil, err
		}
		defer to.close()
	}
	cg, err := cgroups.Open(rec.Cgroup)
	if err != nil {
		return nil, err
	}
	pidns := ""
	if pl.TargetPID {
		pidns = fmt.Sprintf("/proc/%d/ns/pid", rec.Process.Pid)
	}
	l := container.Launch{PIDNS: -1, Stdio: o.Stdio}
	if terminal {
		l.Stdio = [3]*os.File{}
	}
	c, err := r.launch(&l, pl, cg, pidns, target)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer func() {
		if err != nil {
			undo, cancel := context.WithTimeout(context.Background(), undoFor)
			defer cancel()
			err = errors.Join(err, end(undo, c))
		}
	}()
	if err := settle(ctx, c, &to); err != nil {
		return nil, err
	}
	if err := c.StartContext(ctx); err != nil {
		return nil, err
	}
	if o.PidFile != "" {
		if err := writePid(o.PidFile, c.Pid); err != nil {
			return nil, err
		}
	}
	return &Process{Pid: c.Pid}, nil
}
