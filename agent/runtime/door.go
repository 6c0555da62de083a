package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"

	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/monitor"
	"github.com/slipway-cri/slipway/oci/cgroups"
)

// Options say how the node's monitor is started, where none runs yet.
type Options struct {
	MonitorPath string   // slipway-monitor's binary
	InitPath    string   // slipway-init's binary
	MonitorArgs []string // argv of the monitor, nil = {"slipway-monitor"}
	MonitorEnv  []string // its environment, nil = the agent's
	Log         *logrus.Entry
}

// Attachment is a connection to a container's streams.
type Attachment = monitor.Attachment

// Monitor is what the runtime needs of agent/monitor's client, which documents it.
type Monitor interface {
	Launch(ctx context.Context, q monitor.LaunchRequest) (*monitor.LaunchReply, error)
	Release(ctx context.Context, id string) error
	StartContainer(ctx context.Context, id string) (time.Time, error)
	Signal(ctx context.Context, id string, sig syscall.Signal) error
	Resize(ctx context.Context, id string, rows, cols uint16) error
	Attach(ctx context.Context, id string, stdin bool) (*monitor.Attachment, error)
	ReopenLog(ctx context.Context, id string) error
	Forget(ctx context.Context, id string) error
	List(ctx context.Context) ([]monitor.Process, error)
	Shutdown(ctx context.Context, force bool) error
	Exits() <-chan monitor.Exit
	Close() error
}

// cgroup is what making and removing a container needs of oci/cgroups.
type cgroup interface {
	TasksFiles() []string
	OpenDir() (*os.File, error)
	OOMFile() string
	KillAll(ctx context.Context) error
	RemoveEmpty() bool
	Destroy(ctx context.Context) error
	RemoveParents(keep string)
}

// doors are the ways out of this package, so that a test can stand in each of them.
type doors struct {
	connect func(context.Context) (Monitor, error)
	// create and ensure are oci/cgroups' Create and Ensure, open its Open.
	create func(path string, r *specs.LinuxResources) (cgroup, error)
	ensure func(path string, r *specs.LinuxResources) (cgroup, bool, error)
	open   func(path string) (cgroup, error)
	pin    func(source, target string) error
	unpin  func(target string) error
}

func realDoors(l layout.Layout, o Options) doors {
	cfg := monitor.StartConfig{
		Path: o.MonitorPath, Args: o.MonitorArgs, Env: o.MonitorEnv, Init: o.InitPath, State: l.State,
		Socket: l.MonitorSocket(), Exits: l.ExitDir(), Log: l.MonitorLog(),
	}
	return doors{
		connect: func(ctx context.Context) (Monitor, error) { return asMonitor(monitor.Start(ctx, cfg)) },
		create: func(p string, r *specs.LinuxResources) (cgroup, error) {
			return asCgroup(cgroups.Create(p, r))
		},
		ensure: func(p string, r *specs.LinuxResources) (cgroup, bool, error) {
			c, made, err := cgroups.Ensure(p, r)
			cg, err := asCgroup(c, err)
			return cg, made, err
		},
		open:  func(p string) (cgroup, error) { return asCgroup(cgroups.Open(p)) },
		pin:   pin,
		unpin: unpin,
	}
}

// asMonitor and asCgroup keep a nil pointer from becoming an interface that is not nil.
func asMonitor(c *monitor.Client, err error) (Monitor, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

func asCgroup(c *cgroups.Cgroup, err error) (cgroup, error) {
	switch {
	case errors.Is(err, cgroups.ErrSystemd):
		return nil, fmt.Errorf("%w: %w", err, lifecycle.ErrUnsupported)
	case err != nil:
		return nil, err
	}
	return c, nil
}

// Runtime is the door. Its methods may be called concurrently; callers see to it that one
// container or pod is not made and removed at once.
type Runtime struct {
	l     layout.Layout
	doors doors
	log   *logrus.Entry
	host  Host
	plan  planner

	procs table
	queue exitQueue

	mu     sync.Mutex
	m      Monitor       // nil while there is no connection
	back   chan struct{} // closed when m is set again
	closed bool
	served sync.WaitGroup

	reconnects atomic.Uint64
}

// New finds the running monitor of l, or starts one, and takes over what it has.
func New(ctx context.Context, l layout.Layout, o Options) (*Runtime, error) {
	return open(ctx, l, o, realDoors(l, o))
}

func open(ctx context.Context, l layout.Layout, o Options, d doors) (*Runtime, error) {
	r := &Runtime{l: l, doors: d, log: o.Log, back: make(chan struct{})}
	if r.log == nil {
		r.log = logrus.NewEntry(logrus.StandardLogger())
	}
	var err error
	if r.host, err = probeHost(); err != nil {
		return nil, err
	}
	r.plan = newPlanner(r.host)
	// Made now and kept until Shutdown: else each first pod would make it and each last
	// one remove it.
	if _, _, err := d.ensure(l.CgroupParent(), nil); err != nil {
		return nil, err
	}
	m, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.takeOver(ctx, m); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return r, nil
}

// Close leaves the monitor and everything in it running.
func (r *Runtime) Close() error {
	m := r.end()
	if m == nil {
		return nil
	}
	err := m.Close()
	r.served.Wait()
	return err
}

// end marks the runtime closed and returns the connection it had.
func (r *Runtime) end() Monitor {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.m
	if !r.closed && r.m == nil {
		close(r.back)
	}
	r.closed, r.m = true, nil
	return m
}

// Shutdown ends the monitor and removes what the runtime itself holds. lifecycle.ErrState
// while there are processes.
func (r *Runtime) Shutdown(ctx context.Context) error {
	m, err := r.monitor(ctx)
	if err != nil {
		return err
	}
	// Closed first, or the end of the connection would look like the monitor's death.
	r.end()
	if err := m.Shutdown(ctx, false); err != nil {
		r.reopen(m)
		return err
	}
	if err := m.Close(); err != nil {
		return err
	}
	r.served.Wait()
	cg, err := r.doors.open(r.l.CgroupParent())
	if err != nil {
		return err
	}
	return cg.Destroy(ctx)
}

// reopen takes end back.
func (r *Runtime) reopen(m Monitor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.m = false, m
}

// Reconnects is how often a lost connection to the monitor was made again.
func (r *Runtime) Reconnects() uint64 { return r.reconnects.Load() }

// Live lists what the monitor has: running, waiting and exited processes that were not
// deleted yet.
func (r *Runtime) Live(ctx context.Context) ([]Live, error) {
	m, err := r.monitor(ctx)
	if err != nil {
		return nil, err
	}
	list, err := m.List(ctx)
	if err != nil {
		return nil, err
	}
	live := make([]Live, len(list))
	for i, p := range list {
		live[i] = Live{
			ID: p.ID, Holder: p.Kind == monitor.KindHolder, Exec: p.Kind == monitor.KindExec,
			Running: p.State == monitor.StateRunning, Pid: p.Pid, StartedAt: p.StartedAt,
		}
		if p.Exit != nil {
			e := toExit(*p.Exit)
			live[i].Exit = &e
		}
	}
	return live, nil
}

// SetExitHandler sets who is told of containers' exits: one after the other, in the
// order in which they happened. Exits that came before it was set are told then.
func (r *Runtime) SetExitHandler(f func(Exit)) { r.queue.handle(f) }
