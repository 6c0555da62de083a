package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/monitor"
	"github.com/slipway-cri/slipway/oci/cgroups"
)

// Exec runs a process in a running container, of which s is the spec, and answers when
// it has exec'd. Its exit comes on Done, also when it has ended by then.
func (r *Runtime) Exec(ctx context.Context, id string, e ExecSpec, s *specs.Spec) (*Exec, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	plan, err := r.plan.exec(e, s)
	if err != nil {
		return nil, err
	}
	m, err := r.monitor(ctx)
	if err != nil {
		return nil, err
	}
	target := r.procs.get(id)
	if target == nil {
		return nil, fmt.Errorf("container %s: %w", id, lifecycle.ErrNotFound)
	}
	if !target.launched() {
		return nil, fmt.Errorf("container %s does not run: %w", id, lifecycle.ErrState)
	}
	q := &launch{config: &plan.Init, request: monitor.LaunchRequest{
		ID: e.ID, Kind: monitor.KindExec, Target: id, Stdio: e.Stdio, Terminal: e.Process.Terminal,
		TargetUser: plan.TargetUser,
	}}
	if q.cgroup, err = r.doors.open(plan.Cgroup); err != nil {
		return nil, err
	}
	// Entered before it is launched: its exit may come first.
	p, err := r.procs.add(&process{id: e.ID, kind: monitor.KindExec, cgroup: q.cgroup, done: make(chan Exit, 1)})
	if err != nil {
		return nil, err
	}
	console, err := r.launchExec(ctx, m, p, q)
	if err != nil {
		r.procs.drop(e.ID)
		if errors.Is(err, unix.ESRCH) { // setns(2) of a process that has just ended
			err = fmt.Errorf("container %s has ended: %w: %w", id, lifecycle.ErrState, err)
		}
		return nil, err
	}
	return &Exec{Pid: p.pid, Console: console, Done: p.done}, nil
}

// launchExec is launch for a process that may give back a console.
func (r *Runtime) launchExec(ctx context.Context, m Monitor, p *process, q *launch) (*os.File, error) {
	c := &consoleCatcher{Monitor: m}
	if err := r.launch(ctx, c, p, q); err != nil {
		return nil, err
	}
	return c.console, nil
}

// consoleCatcher keeps the console of the reply, which is the exec's caller's.
type consoleCatcher struct {
	Monitor
	console *os.File
}

func (c *consoleCatcher) Launch(ctx context.Context, q monitor.LaunchRequest) (*monitor.LaunchReply, error) {
	reply, err := c.Monitor.Launch(ctx, q)
	if err == nil {
		c.console = reply.Console
	}
	return reply, err
}

// KillExec sends SIGKILL to the exec and to every process of its session that is in the
// container's cgroup, and answers when none is left. lifecycle.ErrNotFound when the exec
// has ended: what it left behind is the container's then.
func (r *Runtime) KillExec(ctx context.Context, execID string) error {
	p := r.procs.get(execID)
	if p == nil || p.kind != monitor.KindExec {
		return fmt.Errorf("exec %s: %w", execID, lifecycle.ErrNotFound)
	}
	m, err := r.monitor(ctx)
	if err != nil {
		return err
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		killed, err := killSession(p)
		if err != nil {
			return err
		}
		if !killed {
			break
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("kill the session of exec %s: %w", execID, ctx.Err())
		}
	}
	if err := m.Signal(ctx, execID, syscall.SIGKILL); err != nil && !errors.Is(err, lifecycle.ErrNotFound) {
		return err
	}
	return r.await(ctx, p)
}

// pidsOf is the part of a cgroup that only killing a session needs.
type pidsOf interface{ Pids() ([]int, error) }

var _ pidsOf = (*cgroups.Cgroup)(nil)

// killSession kills the living members of p's session and says whether there were any.
func killSession(p *process) (bool, error) {
	cg, ok := p.cgroup.(pidsOf)
	if !ok || p.pid == 0 {
		return false, nil
	}
	pids, err := cg.Pids()
	if err != nil {
		return false, err
	}
	killed := false
	for _, pid := range pids {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			continue // ended meanwhile
		}
		session, zombie := sessionOf(stat)
		if session != p.pid || zombie {
			continue
		}
		killed = true
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
			return true, fmt.Errorf("kill %d: %w", pid, err)
		}
	}
	return killed, nil
}

// sessionOf reads state and session (fields 3 and 6) of /proc/PID/stat, proc_pid_stat(5);
// the command in parentheses before them may hold anything.
func sessionOf(stat []byte) (session int, zombie bool) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, false
	}
	f := bytes.Fields(stat[i+1:])
	if len(f) < 4 {
		return 0, false
	}
	session, _ = strconv.Atoi(string(f[3]))
	return session, f[0][0] == 'Z' || f[0][0] == 'X'
}
