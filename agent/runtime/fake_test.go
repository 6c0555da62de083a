package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"

	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/monitor"
	"github.com/slipway-cri/slipway/oci/initconf"
)

var errInjected = errors.New("injected")

// world records the operations on a machine that is not there, keeps what is left on
// it, and fails the operation number failAt (from 1; 0 = none).
type world struct {
	mu     sync.Mutex
	ops    []string
	failAt int
	n      int
	left   map[string]bool // "cgroup /p", "pin /x", "process id"

	configs map[string]*initconf.Config // of launched processes
	procs   map[string]*monitor.Process
	exits   chan monitor.Exit
	closed  bool
	launch  func(w *world, q monitor.LaunchRequest) error // more to do at a launch
}

func newWorld() *world {
	return &world{
		left: map[string]bool{}, configs: map[string]*initconf.Config{},
		procs: map[string]*monitor.Process{}, exits: make(chan monitor.Exit, 100),
	}
}

// op records; undoing operations do not count towards failAt.
func (w *world) op(undoing bool, format string, args ...any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ops = append(w.ops, fmt.Sprintf(format, args...))
	if undoing {
		return nil
	}
	w.n++
	if w.n == w.failAt {
		return errInjected
	}
	return nil
}

func (w *world) set(what string, there bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if there {
		w.left[what] = true
	} else {
		delete(w.left, what)
	}
}

// remains lists what is left.
func (w *world) remains() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for k := range w.left {
		out = append(out, k)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (w *world) log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.ops, "\n")
}

func (w *world) Launch(_ context.Context, q monitor.LaunchRequest) (*monitor.LaunchReply, error) {
	if err := w.op(false, "launch %s kind %d flags %#x cgroupfd %v pidns %v", q.ID, q.Kind, q.CloneFlags, q.Cgroup != nil, q.PIDNS != nil); err != nil {
		return nil, &monitor.LaunchError{Step: "exec", Path: "/nosuch", Errno: int(syscall.ENOENT)}
	}
	b, err := io.ReadAll(io.NewSectionReader(q.Config, 0, 1<<20))
	if err != nil {
		return nil, err
	}
	c, err := initconf.Decode(b)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.configs[q.ID] = c
	w.procs[q.ID] = &monitor.Process{ID: q.ID, Kind: q.Kind, State: monitor.StateWaiting, Pid: 4000000 + len(w.procs)}
	pid := w.procs[q.ID].Pid
	w.mu.Unlock()
	w.set("process "+q.ID, true)
	if w.launch != nil {
		if err := w.launch(w, q); err != nil {
			return nil, err
		}
	}
	return &monitor.LaunchReply{Pid: pid}, nil
}

// exit ends a process and tells of it.
func (w *world) exit(id string, code int) {
	w.mu.Lock()
	p := w.procs[id]
	w.mu.Unlock()
	if p == nil || p.Exit != nil {
		return
	}
	e := monitor.Exit{ID: id, Code: code, FinishedAt: time.Now()}
	w.mu.Lock()
	p.State, p.Exit = monitor.StateExited, &e
	exits := w.exits
	w.mu.Unlock()
	w.set("process "+id, false)
	exits <- e
}

func (w *world) Release(_ context.Context, id string) error {
	if err := w.op(false, "release %s", id); err != nil {
		return err
	}
	w.mu.Lock()
	mode := w.configs[id].Mode
	w.mu.Unlock()
	if mode == initconf.ModeHolder {
		w.exit(id, 0)
	}
	return nil
}

func (w *world) StartContainer(_ context.Context, id string) (time.Time, error) {
	return time.Now(), w.op(false, "start %s", id)
}

func (w *world) Signal(_ context.Context, id string, sig syscall.Signal) error {
	_ = w.op(true, "signal %s %v", id, sig)
	w.mu.Lock()
	p := w.procs[id]
	gone := p == nil || p.Exit != nil
	w.mu.Unlock()
	if gone {
		return lifecycle.ErrNotFound
	}
	w.exit(id, 128+int(sig))
	return nil
}

func (w *world) Forget(_ context.Context, id string) error {
	_ = w.op(true, "forget %s", id)
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.procs[id]; p != nil && p.Exit == nil {
		return lifecycle.ErrState
	}
	delete(w.procs, id)
	return nil
}

func (w *world) List(context.Context) ([]monitor.Process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []monitor.Process
	for _, p := range w.procs {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b monitor.Process) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

func (w *world) Resize(_ context.Context, id string, rows, cols uint16) error {
	return w.op(false, "resize %s %dx%d", id, rows, cols)
}

func (w *world) Attach(_ context.Context, id string, stdin bool) (*monitor.Attachment, error) {
	return nil, errors.Join(w.op(false, "attach %s %v", id, stdin), lifecycle.ErrState)
}

func (w *world) ReopenLog(_ context.Context, id string) error { return w.op(false, "reopen %s", id) }

func (w *world) Shutdown(context.Context, bool) error {
	_ = w.op(false, "shutdown")
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.procs {
		if p.Exit == nil {
			return lifecycle.ErrState
		}
	}
	return nil
}

func (w *world) Exits() <-chan monitor.Exit {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.exits
}

func (w *world) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		close(w.exits)
	}
	return nil
}

// fakeCgroup is a cgroup of the world.
type fakeCgroup struct {
	w    *world
	path string
}

func (c fakeCgroup) TasksFiles() []string { return []string{"/v1" + c.path + "/tasks"} }

func (c fakeCgroup) OpenDir() (*os.File, error) {
	if err := c.w.op(false, "opendir %s", c.path); err != nil {
		return nil, err
	}
	return os.Open(os.DevNull)
}

func (c fakeCgroup) OOMFile() string { return "/v1" + c.path + "/memory.oom_control" }

func (c fakeCgroup) KillAll(context.Context) error { return c.w.op(true, "killall %s", c.path) }

func (c fakeCgroup) RemoveEmpty() bool {
	_ = c.w.op(true, "rmdir %s", c.path)
	c.w.mu.Lock()
	busy := false
	for k := range c.w.left {
		busy = busy || strings.HasPrefix(k, "cgroup "+c.path+"/")
	}
	c.w.mu.Unlock()
	if !busy {
		c.w.set("cgroup "+c.path, false)
	}
	return !busy
}

func (c fakeCgroup) Destroy(context.Context) error {
	_ = c.w.op(true, "destroy %s", c.path)
	c.w.set("cgroup "+c.path, false)
	return nil
}

func (c fakeCgroup) RemoveParents(keep string) {
	_ = c.w.op(true, "rmdir above %s to %s", c.path, keep)
}

func (w *world) doors() doors {
	return doors{
		connect: func(context.Context) (Monitor, error) { return w, nil },
		create: func(p string, _ *specs.LinuxResources) (cgroup, error) {
			if err := w.op(false, "mkdir %s", p); err != nil {
				return nil, err
			}
			w.set("cgroup "+p, true)
			return fakeCgroup{w, p}, nil
		},
		ensure: func(p string, _ *specs.LinuxResources) (cgroup, bool, error) {
			w.mu.Lock()
			there := w.left["cgroup "+p]
			w.mu.Unlock()
			if there {
				return fakeCgroup{w, p}, false, nil
			}
			if err := w.op(false, "ensure %s", p); err != nil {
				return nil, false, err
			}
			w.set("cgroup "+p, true)
			return fakeCgroup{w, p}, true, nil
		},
		open: func(p string) (cgroup, error) { return fakeCgroup{w, p}, nil },
		pin: func(source, target string) error {
			if err := w.op(false, "pin %s %s", source, target); err != nil {
				return err
			}
			w.set("pin "+target, true)
			return nil
		},
		unpin: func(target string) error {
			_ = w.op(true, "unpin %s", target)
			w.set("pin "+target, false)
			return nil
		},
	}
}

// fakeRuntime opens a runtime on w with the books at zero.
func fakeRuntime(t *testing.T, w *world) *Runtime {
	t.Helper()
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	l := layout.New(t.TempDir(), t.TempDir())
	fail := w.failAt
	w.failAt = 0
	r, err := open(context.Background(), l, Options{Log: logrus.NewEntry(quiet)}, w.doors())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	w.mu.Lock()
	w.ops, w.n, w.failAt = nil, 0, fail
	delete(w.left, "cgroup "+l.CgroupParent())
	w.mu.Unlock()
	return r
}
