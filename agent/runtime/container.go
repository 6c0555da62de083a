package runtime

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/monitor"
	"github.com/slipway-cri/slipway/agent/steps"
	"github.com/slipway-cri/slipway/oci/initconf"
)

// Create makes the container's cgroup and its process, which then waits at its start
// gate; pid is the node's. On error nothing is left. Errors: lifecycle.ErrInvalid or
// ErrUnsupported for a spec that cannot be carried out; a *monitor.LaunchError (and its
// errno) for what failed inside.
func (r *Runtime) Create(ctx context.Context, s ContainerSpec) (pid int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	plan, err := r.plan.container(s)
	if err != nil {
		return 0, err
	}
	steps.Lap(ctx, "plan")
	m, err := r.monitor(ctx)
	if err != nil {
		return 0, err
	}
	var undo undoList
	defer func() { err = undo.on(err) }()
	p, err := r.procs.add(&process{id: s.ID, kind: monitor.KindContainer})
	if err != nil {
		return 0, err
	}
	undo.add(func(context.Context) error { r.procs.drop(s.ID); return nil })
	cg, err := r.doors.create(plan.Cgroup, plan.Resources)
	if err != nil {
		return 0, err
	}
	p.cgroup = cg
	steps.Lap(ctx, "cgroup")
	if plan.JoinUser != "" {
		if err := giveUpper(s); err != nil {
			return 0, err
		}
	}
	undo.add(func(ctx context.Context) error { return removeCgroup(ctx, cg) })
	undo.add(func(ctx context.Context) error { return r.endProcess(ctx, s.ID) })
	err = r.launch(ctx, m, p, &launch{
		config: &plan.Init, cgroup: cg, pidns: plan.JoinPID, user: plan.JoinUser, joins: plan.ParentJoins,
		request: monitor.LaunchRequest{
			ID: s.ID, Kind: monitor.KindContainer, CloneFlags: uint64(plan.CloneFlags),
			Terminal: s.Spec.Process.Terminal, Stdin: s.Stdin, StdinOnce: s.StdinOnce,
			LogPath: s.LogPath, OOMFile: cg.OOMFile(),
		},
	})
	if err != nil {
		return 0, err
	}
	steps.Lap(ctx, "clone")
	return p.pid, nil
}

func rootfs(s ContainerSpec) *initconf.Root {
	if len(s.Lower) == 0 {
		return nil // spec.Root.Path is bound as it is
	}
	return &initconf.Root{LowerBase: s.LowerBase, Lower: s.Lower, Upper: s.Upper, Work: s.Work}
}

// Start opens the container's start gate and answers when it has exec'd.
func (r *Runtime) Start(ctx context.Context, id string) (time.Time, error) {
	m, err := r.monitor(ctx)
	if err != nil {
		return time.Time{}, err
	}
	at, err := m.StartContainer(ctx, id)
	return at, launchError(err)
}

// Signal sends sig to the main process; lifecycle.ErrNotFound when it is gone.
func (r *Runtime) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	m, err := r.monitor(ctx)
	if err != nil {
		return err
	}
	return m.Signal(ctx, id, sig)
}

// KillAll sends SIGKILL to the main process and to all in its cgroup, and waits until the
// cgroup is empty. Nothing to kill is no error.
func (r *Runtime) KillAll(ctx context.Context, id, cgroupPath string) error {
	if err := r.Signal(ctx, id, syscall.SIGKILL); err != nil && !errors.Is(err, lifecycle.ErrNotFound) {
		return err
	}
	if cgroupPath == "" {
		return nil
	}
	cg, err := r.doors.open(cgroupPath)
	if err != nil {
		return err
	}
	return cg.KillAll(ctx)
}

// Delete ends what is left of a container, makes the monitor forget it and removes its
// cgroup. It may be repeated. With an empty cgroupPath (a process that no record knows)
// the cgroup is the one that the process is in.
func (r *Runtime) Delete(ctx context.Context, id, cgroupPath string) error {
	if cgroupPath == "" {
		cgroupPath = r.cgroupOf(id)
	}
	if err := r.endProcess(ctx, id); err != nil {
		return err
	}
	if cgroupPath == "" {
		return nil
	}
	return r.removeCgroup(ctx, cgroupPath)
}

// cgroupOf reads a live process's cgroup; "" when it is gone, or in no cgroup of a
// container's.
func (r *Runtime) cgroupOf(id string) string {
	p := r.procs.get(id)
	if p == nil || !p.launched() {
		return ""
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/cgroup", p.pid))
	if err != nil {
		return ""
	}
	defer f.Close()
	return lastNamed(bufio.NewScanner(f), id)
}

// lastNamed finds the path of /proc/PID/cgroup (cgroups(7)) that ends in "/id": the
// agent's own cgroups are named so, and no other may be removed on a guess.
func lastNamed(lines *bufio.Scanner, id string) string {
	for lines.Scan() {
		f := strings.SplitN(lines.Text(), ":", 3)
		if len(f) == 3 && strings.HasSuffix(f[2], "/"+id) {
			return f[2]
		}
	}
	return ""
}

// Resize sets the size of a container's terminal.
func (r *Runtime) Resize(ctx context.Context, id string, rows, cols uint16) error {
	m, err := r.monitor(ctx)
	if err != nil {
		return err
	}
	return m.Resize(ctx, id, rows, cols)
}

// Attach connects to a container's streams; stdin too where stdin is true.
func (r *Runtime) Attach(ctx context.Context, id string, stdin bool) (*Attachment, error) {
	m, err := r.monitor(ctx)
	if err != nil {
		return nil, err
	}
	return m.Attach(ctx, id, stdin)
}

// ReopenLog opens the container's log path anew, after rotation.
func (r *Runtime) ReopenLog(ctx context.Context, id string) error {
	m, err := r.monitor(ctx)
	if err != nil {
		return err
	}
	return m.ReopenLog(ctx, id)
}
