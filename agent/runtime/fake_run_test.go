package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/monitor"
	"github.com/slipway-cri/slipway/oci/initconf"
)

func wait(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func podSpec() SandboxSpec {
	return SandboxSpec{
		ID: "pod1", Network: true, IPC: true, UTS: true, PID: true, Hostname: "web",
		Sysctls: map[string]string{"net.ipv4.ip_forward": "1", "kernel/shm_rmid_forced": "0"},
		PinDir:  "/pins", CgroupPath: "/slipway/podpod1", OwnCgroup: true,
	}
}

func ctrSpec() ContainerSpec {
	return ContainerSpec{
		ID: "ctr1", LowerBase: "/layers", Lower: []string{"a", "b"}, Upper: "/c/upper", Work: "/c/work", LogPath: "/log",
		Spec: &specs.Spec{
			Version: specs.Version,
			Root:    &specs.Root{Path: "rootfs"},
			Process: &specs.Process{Args: []string{"/bin/true"}, Cwd: "/"},
			Linux: &specs.Linux{
				CgroupsPath: "/slipway/podpod1/ctr1",
				Namespaces:  []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}},
			},
		},
	}
}

func TestSandboxSteps(t *testing.T) {
	w := newWorld()
	r := fakeRuntime(t, w)
	ctx := wait(t)
	box, err := r.CreateSandbox(ctx, podSpec())
	if err != nil {
		t.Fatal(err)
	}
	if box.NetNS != "/pins/net" || box.IPCNS != "/pins/ipc" || box.UTSNS != "/pins/uts" || box.Pid != 4000000 {
		t.Errorf("sandbox %+v", box)
	}
	c := w.configs["pod1"]
	wantSysctls := []initconf.Sysctl{{Path: "kernel/shm_rmid_forced", Value: "0"}, {Path: "net/ipv4/ip_forward", Value: "1"}}
	if c.Mode != initconf.ModeReaper || c.Hostname != "web" || !slices.Equal(c.Sysctls, wantSysctls) ||
		!slices.Equal(c.Cgroups, []string{"/v1/slipway/podpod1/pod1/tasks"}) {
		t.Errorf("init is told %+v", c)
	}
	if err := r.ReleaseSandbox(ctx, "pod1"); err != nil {
		t.Error(err)
	}
	for range 2 { // repeatable
		if err := r.RemoveSandbox(ctx, podSpec()); err != nil {
			t.Error(err)
		}
	}
	if left := w.remains(); left != "" {
		t.Errorf("left: %s", left)
	}
	want := `ensure /slipway/podpod1
mkdir /slipway/podpod1/pod1
opendir /slipway/podpod1/pod1
launch pod1 kind 1 flags 0x6c000000 cgroupfd true pidns false
pin /proc/4000000/ns/net /pins/net
pin /proc/4000000/ns/ipc /pins/ipc
pin /proc/4000000/ns/uts /pins/uts
release pod1
unpin /pins/net
unpin /pins/ipc
unpin /pins/uts
signal pod1 killed
forget pod1`
	if got := w.log(); !strings.HasPrefix(got, want) {
		t.Errorf("operations:\n%s\nwant first:\n%s", got, want)
	}
}

func TestHolderEndsAtRelease(t *testing.T) {
	w := newWorld()
	r := fakeRuntime(t, w)
	ctx := wait(t)
	s := podSpec()
	s.PID = false
	if _, err := r.CreateSandbox(ctx, s); err != nil {
		t.Fatal(err)
	}
	if c := w.configs["pod1"]; c.Mode != initconf.ModeHolder || len(c.Cgroups) != 0 {
		t.Errorf("init is told mode %d, cgroups %q", c.Mode, c.Cgroups)
	}
	if err := r.ReleaseSandbox(ctx, "pod1"); err != nil {
		t.Fatal(err)
	}
	if live, err := r.Live(ctx); err != nil || len(live) != 0 {
		t.Errorf("the monitor still has %+v, %v", live, err)
	}
}

func TestSandboxWithoutNamespaces(t *testing.T) {
	w := newWorld()
	r := fakeRuntime(t, w)
	ctx := wait(t)
	s := SandboxSpec{ID: "host", PinDir: "/pins", CgroupPath: "/slipway/podhost", OwnCgroup: true}
	box, err := r.CreateSandbox(ctx, s)
	if err != nil || *box != (Sandbox{}) {
		t.Errorf("%+v, %v", box, err)
	}
	if strings.Contains(w.log(), "launch") {
		t.Errorf("launched a process that holds nothing:\n%s", w.log())
	}
	if err := errors.Join(r.ReleaseSandbox(ctx, "host"), r.RemoveSandbox(ctx, s)); err != nil {
		t.Error(err)
	}
	if left := w.remains(); left != "" {
		t.Errorf("left: %s", left)
	}
}

// TestSandboxFailsAtEachStep: whatever step fails, nothing is left.
func TestSandboxFailsAtEachStep(t *testing.T) {
	failEach(t, func(r *Runtime) error {
		_, err := r.CreateSandbox(wait(t), podSpec())
		return err
	})
}

func TestCreateFailsAtEachStep(t *testing.T) {
	failEach(t, func(r *Runtime) error {
		_, err := r.Create(wait(t), ctrSpec())
		return err
	})
}

func failEach(t *testing.T, f func(*Runtime) error) {
	t.Helper()
	for n := 1; ; n++ {
		w := newWorld()
		w.failAt = n
		r := fakeRuntime(t, w)
		err := f(r)
		if w.n < n {
			if err != nil {
				t.Errorf("no step failed, but: %v", err)
			}
			if n < 3 {
				t.Errorf("only %d steps were counted", n-1)
			}
			return
		}
		if err == nil {
			t.Errorf("step %d failed, but no error:\n%s", n, w.log())
		}
		if left := w.remains(); left != "" {
			t.Errorf("step %d failed: left %s\n%s", n, left, w.log())
		}
		if all := r.procs.all(); len(all) != 0 {
			t.Errorf("step %d failed: the table has %q", n, all[0].id)
		}
	}
}

func TestForeignCgroupIsKept(t *testing.T) {
	w := newWorld()
	w.left["cgroup /kubepods/pod1"] = true
	r := fakeRuntime(t, w)
	ctx := wait(t)
	s := podSpec()
	s.CgroupPath, s.OwnCgroup = "/kubepods/pod1", false
	if _, err := r.CreateSandbox(ctx, s); err != nil {
		t.Fatal(err)
	}
	if err := r.AbortSandbox(ctx, s); err != nil {
		t.Fatal(err)
	}
	if left := w.remains(); left != "cgroup /kubepods/pod1" {
		t.Errorf("left: %q", left)
	}
}

func TestContainerLife(t *testing.T) {
	w := newWorld()
	r := fakeRuntime(t, w)
	ctx := wait(t)
	exits := make(chan Exit, 1)
	r.SetExitHandler(func(e Exit) { exits <- e })
	pid, err := r.Create(ctx, ctrSpec())
	if err != nil || pid != 4000000 {
		t.Fatalf("pid %d, %v", pid, err)
	}
	c := w.configs["ctr1"]
	if c.Mode != initconf.ModeContainer || c.Root.LowerBase != "/layers" || c.Root.Upper != "/c/upper" ||
		!slices.Equal(c.Cgroups, []string{"/v1/slipway/podpod1/ctr1/tasks"}) {
		t.Errorf("init is told %+v", c)
	}
	if _, err := r.Create(ctx, ctrSpec()); !errors.Is(err, lifecycle.ErrExists) {
		t.Errorf("Create again: %v, want ErrExists", err)
	}
	if left := w.remains(); left != "cgroup /slipway/podpod1/ctr1, process ctr1" {
		t.Errorf("a second Create left %q", left)
	}
	if _, err := r.Start(ctx, "ctr1"); err != nil {
		t.Error(err)
	}
	w.exit("ctr1", 7)
	if e := <-exits; e.ID != "ctr1" || e.Code != 7 || e.Unknown {
		t.Errorf("exit %+v", e)
	}
	for range 2 {
		if err := r.Delete(ctx, "ctr1", "/slipway/podpod1/ctr1"); err != nil {
			t.Error(err)
		}
	}
	if left := w.remains(); left != "" {
		t.Errorf("left: %s", left)
	}
	if strings.Contains(w.log(), "killall") {
		t.Errorf("an empty cgroup was searched for processes:\n%s", w.log())
	}
}

func TestDeleteKillsWhatRuns(t *testing.T) {
	w := newWorld()
	r := fakeRuntime(t, w)
	ctx := wait(t)
	if _, err := r.Create(ctx, ctrSpec()); err != nil {
		t.Fatal(err)
	}
	if err := r.Delete(ctx, "ctr1", "/slipway/podpod1/ctr1"); err != nil {
		t.Fatal(err)
	}
	if left := w.remains(); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestErrorsOfInit(t *testing.T) {
	w := newWorld()
	w.failAt = 3 // mkdir, opendir, launch
	r := fakeRuntime(t, w)
	_, err := r.Create(wait(t), ctrSpec())
	var le *monitor.LaunchError
	if !errors.As(err, &le) || le.Step != "exec" || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("%v is no LaunchError of exec with ENOENT", err)
	}
	if want := `exec "/nosuch": no such file or directory`; err == nil || err.Error() != want {
		t.Errorf("it reads %q, want %q", err, want)
	}
}

func TestBadSpecs(t *testing.T) {
	w := newWorld()
	r := fakeRuntime(t, w)
	bad := map[string]func(*ContainerSpec){
		"no spec":   func(s *ContainerSpec) { s.Spec = nil },
		"no args":   func(s *ContainerSpec) { s.Spec.Process.Args = nil },
		"no cgroup": func(s *ContainerSpec) { s.Spec.Linux.CgroupsPath = "" },
	}
	for name, f := range bad {
		s := ctrSpec()
		f(&s)
		if _, err := r.Create(wait(t), s); !errors.Is(err, lifecycle.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if w.log() != "" {
		t.Errorf("a bad spec reached the machine:\n%s", w.log())
	}
}

// TestExecEndsFirst: the exit comes before Launch answers, and is not lost.
func TestExecEndsFirst(t *testing.T) {
	w := newWorld()
	r := fakeRuntime(t, w)
	ctx := wait(t)
	if _, err := r.Create(ctx, ctrSpec()); err != nil {
		t.Fatal(err)
	}
	w.launch = func(w *world, q monitor.LaunchRequest) error {
		w.exit(q.ID, 3)
		for r.procs.get(q.ID) != nil && !r.procs.get(q.ID).hasEnded() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			time.Sleep(time.Millisecond) // until the exit was routed
		}
		return nil
	}
	e, err := r.Exec(ctx, "ctr1", ExecSpec{ID: "x1", Process: &specs.Process{Args: []string{"false"}, Cwd: "/"}}, ctrSpec().Spec)
	if err != nil {
		t.Fatal(err)
	}
	if x := <-e.Done; x.Code != 3 || x.ID != "x1" {
		t.Errorf("exit %+v", x)
	}
	if err := r.KillExec(ctx, "x1"); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("KillExec of an ended exec: %v", err)
	}
}

func TestExecWithoutContainer(t *testing.T) {
	w := newWorld()
	r := fakeRuntime(t, w)
	ctx := wait(t)
	x := ExecSpec{ID: "x1", Process: &specs.Process{Args: []string{"false"}, Cwd: "/"}}
	if _, err := r.Exec(ctx, "none", x, ctrSpec().Spec); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	if _, err := r.Create(ctx, ctrSpec()); err != nil {
		t.Fatal(err)
	}
	// It has ended, and nobody has told of it yet.
	w.launch = func(*world, monitor.LaunchRequest) error {
		return &monitor.LaunchError{Step: "setns", Errno: int(syscall.ESRCH), Message: "no such process"}
	}
	if _, err := r.Exec(ctx, "ctr1", x, ctrSpec().Spec); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("while it ends: %v, want ErrState", err)
	}
	w.launch = nil
	told := make(chan Exit, 1)
	r.SetExitHandler(func(e Exit) { told <- e })
	w.exit("ctr1", 0)
	<-told
	if _, err := r.Exec(ctx, "ctr1", x, ctrSpec().Spec); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("%v, want ErrState", err)
	}
}

// TestExitsInOrder: none is lost before the handler is set, nor by a slow one.
func TestExitsInOrder(t *testing.T) {
	w := newWorld()
	r := fakeRuntime(t, w)
	ctx := wait(t)
	const n = 60
	for i := range n {
		s := ctrSpec()
		s.ID = fmt.Sprintf("c%02d", i)
		if _, err := r.Create(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n / 2 {
		w.exit(fmt.Sprintf("c%02d", i), i)
	}
	got := make(chan Exit, n)
	inside := make(chan struct{}, 1)
	r.SetExitHandler(func(e Exit) {
		select {
		case inside <- struct{}{}:
		default:
			t.Error("the handler is called concurrently")
		}
		got <- e
		<-inside
	})
	for i := n / 2; i < n; i++ {
		w.exit(fmt.Sprintf("c%02d", i), i)
	}
	for i := range n {
		if e := <-got; e.Code != i {
			t.Fatalf("exit %d is of %s", i, e.ID)
		}
	}
}

// TestMonitorDies: another monitor comes up that knows none of the containers.
func TestMonitorDies(t *testing.T) {
	first, second := newWorld(), newWorld()
	r := fakeRuntime(t, first)
	ctx := wait(t)
	exits := make(chan Exit, 2)
	r.SetExitHandler(func(e Exit) { exits <- e })
	for _, id := range []string{"a", "b"} {
		s := ctrSpec()
		s.ID = id
		if _, err := r.Create(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	// b's end is on the new monitor's books: it read the old one's record.
	second.procs["b"] = &monitor.Process{ID: "b", Kind: monitor.KindContainer, State: monitor.StateExited, Exit: &monitor.Exit{ID: "b", Code: 5}}
	r.doors.connect = func(context.Context) (Monitor, error) { return second, nil }
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]Exit{}
	for range 2 {
		e := <-exits
		seen[e.ID] = e
	}
	if a := seen["a"]; a.Code != 255 || !a.Unknown || a.FinishedAt.IsZero() {
		t.Errorf("a: %+v, want 255, unknown", a)
	}
	if b := seen["b"]; b.Code != 5 || b.Unknown {
		t.Errorf("b: %+v, want its recorded code", b)
	}
	s := ctrSpec()
	s.ID = "c"
	if _, err := r.Create(ctx, s); err != nil || second.configs["c"] == nil {
		t.Errorf("Create with the new monitor: %v", err)
	}
}

func TestShutdown(t *testing.T) {
	w := newWorld()
	r := fakeRuntime(t, w)
	ctx := wait(t)
	if _, err := r.Create(ctx, ctrSpec()); err != nil {
		t.Fatal(err)
	}
	if err := r.Shutdown(ctx); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("with a container: %v, want ErrState", err)
	}
	if err := r.Delete(ctx, "ctr1", "/slipway/podpod1/ctr1"); err != nil {
		t.Errorf("after a refused shutdown: %v", err)
	}
	if err := r.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if _, err := r.Live(ctx); !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Errorf("after shutdown: %v, want ErrUnavailable", err)
	}
}
