package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	ocgroups "github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/cgroups"
	"github.com/slipway-cri/slipway/oci/container"
	_ "github.com/slipway-cri/slipway/oci/initproc/reexec" // this binary is slipway-init too
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// fixture is a runtime, and bundles whose cgroups bear its name.
type fixture struct {
	*Runtime
	t    *testing.T
	name string
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	kerneltest.NeedRoot(t)
	name := fmt.Sprintf("slipwayoci%d", os.Getpid())
	root := t.TempDir()
	r, err := New(Options{Root: root, InitPath: "/proc/self/exe"})
	if err != nil {
		t.Fatal(err)
	}
	// The library that writes limits opens the cgroup root once and keeps it for good.
	_, _ = ocgroups.ReadFile("/sys/fs/cgroup", "cgroup.procs")
	kerneltest.Balance(t, kerneltest.Scope{Name: name, Dirs: []string{root}, Extra: map[string]func() []string{
		"state": func() []string {
			left, _ := filepath.Glob(root + "/*")
			return left
		},
	}})
	return &fixture{Runtime: r, t: t, name: name}
}

func (f *fixture) spec(id string, args ...string) *specs.Spec {
	namespaces := []specs.LinuxNamespace{{Type: "pid"}, {Type: "mount"}, {Type: "ipc"}, {Type: "uts"}, {Type: "network"}}
	return &specs.Spec{
		Version:  "1.0.2",
		Hostname: "slip",
		Root:     &specs.Root{Path: "rootfs"},
		Process:  &specs.Process{Args: args, Env: []string{"PATH=/bin"}, Cwd: "/", NoNewPrivileges: true},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666"}},
		},
		Linux: &specs.Linux{Namespaces: namespaces, CgroupsPath: "/" + f.name + "/" + id},
	}
}

// bundle makes one with busybox in it; change may alter the spec.
func (f *fixture) bundle(s *specs.Spec) string {
	f.t.Helper()
	dir := f.t.TempDir()
	for _, d := range []string{"bin", "dev", "proc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			f.t.Fatal(err)
		}
	}
	program, err := os.ReadFile("/bin/busybox")
	if errors.Is(err, os.ErrNotExist) {
		f.t.Skip("needs a static /bin/busybox to run in the container")
	}
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs/bin/busybox"), program, 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs/bin/broken"), []byte("no program\n"), 0o755); err != nil {
		f.t.Fatal(err)
	}
	for _, a := range []string{"sh", "sleep", "cat", "echo", "hostname", "tty", "true"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "rootfs/bin", a)); err != nil {
			f.t.Fatal(err)
		}
	}
	data, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return dir
}

func (f *fixture) create(id string, o CreateOptions, args ...string) {
	f.t.Helper()
	f.must(f.Create(f.t.Context(), id, f.bundle(f.spec(id, args...)), o))
	f.t.Cleanup(func() { f.must(f.Delete(context.Background(), id, true)) })
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) is(id string, want specs.ContainerState) *State {
	f.t.Helper()
	s, err := f.State(id)
	f.must(err)
	if s.Status != want {
		f.t.Fatalf("container %s is %s, want %s", id, s.Status, want)
	}
	return s
}

// capture is a pipe for stdout and stderr; text closes it here and reads to the end.
func capture(t *testing.T) (stdio [3]*os.File, text func() string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return [3]*os.File{nil, w, w}, func() string {
		w.Close()
		b, _ := io.ReadAll(r)
		return string(b)
	}
}

func TestLifeCycle(t *testing.T) {
	f := setUp(t)
	ctx := t.Context()
	stdio, text := capture(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	f.create("a", CreateOptions{Stdio: stdio, PidFile: pidFile}, "sh", "-c", "hostname; echo $$; exit 7")
	s := f.is("a", specs.StateCreated)
	if b, err := os.ReadFile(pidFile); err != nil || string(b) != fmt.Sprint(s.Pid) || s.Pid == 0 {
		t.Errorf("pid file %q, %v; state %d", b, err, s.Pid)
	}
	if err := f.Create(ctx, "a", s.Bundle, CreateOptions{}); !errors.Is(err, ErrExists) {
		t.Errorf("a second create: %v", err)
	}
	if err := f.Delete(ctx, "a", false); !errors.Is(err, ErrState) {
		t.Errorf("delete of a created one: %v", err)
	}
	if err := f.Resume(ctx, "a"); !errors.Is(err, ErrState) {
		t.Errorf("resume: %v", err)
	}
	f.must(f.Start(ctx, "a"))
	ws, err := f.Wait(ctx, "a")
	if out := text(); err != nil || ws.ExitStatus() != 7 || out != "slip\n1\n" {
		t.Errorf("exit %v, %v: %q", ws, err, out)
	}
	if s := f.is("a", specs.StateStopped); s.Pid != 0 {
		t.Errorf("pid %d of a stopped one", s.Pid)
	}
	for name, err := range map[string]error{"start": f.Start(ctx, "a"), "kill": f.Kill(ctx, "a", unix.SIGTERM, false)} {
		if !errors.Is(err, ErrState) {
			t.Errorf("%s of a stopped one: %v", name, err)
		}
	}
	f.must(f.Delete(ctx, "a", false))
	if _, err := f.State("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("state after delete: %v", err)
	}
	if err := f.Delete(ctx, "a", false); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete again: %v", err)
	}
}

func TestRunning(t *testing.T) {
	f := setUp(t)
	ctx := t.Context()
	f.create("run", CreateOptions{}, "sleep", "1000")
	f.must(f.Start(ctx, "run"))
	f.is("run", specs.StateRunning)
	if err := f.Start(ctx, "run"); !errors.Is(err, ErrState) {
		t.Errorf("start again: %v", err)
	}
	stdio, text := capture(t)
	env := []string{"PATH=/bin"}
	p, err := f.Exec(ctx, "run", &specs.Process{Args: []string{"sh", "-c", "hostname; cat /proc/1/comm; exit 3"}, Env: env, Cwd: "/"}, ExecOptions{Stdio: stdio})
	f.must(err)
	ws, err := p.Wait(ctx)
	if out := text(); err != nil || ws.ExitStatus() != 3 || out != "slip\nsleep\n" {
		t.Errorf("exec: %v, %v: %q", ws, err, out)
	}
	if _, err := f.Exec(ctx, "run", &specs.Process{Args: []string{"absent"}, Env: env, Cwd: "/"}, ExecOptions{}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("exec of what is not there: %v", err)
	}
	f.must(f.Pause(ctx, "run"))
	f.is("run", Paused)
	if _, err := f.Exec(ctx, "run", &specs.Process{Args: []string{"true"}, Env: env, Cwd: "/"}, ExecOptions{}); !errors.Is(err, ErrState) {
		t.Errorf("exec in a paused one: %v", err)
	}
	f.must(f.Resume(ctx, "run"))
	s := f.is("run", specs.StateRunning)
	limit := int64(64 << 20)
	f.must(f.Update(ctx, "run", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}))
	cg, err := cgroups.Open(s.Cgroup)
	f.must(err)
	u, err := cg.Usage()
	f.must(err)
	if u.MemoryLimit == nil || *u.MemoryLimit != uint64(limit) {
		t.Errorf("memory limit %v", u.MemoryLimit)
	}
	all, err := f.List()
	if err != nil || len(all) != 1 || all[0].ID != "run" {
		t.Errorf("list: %v, %v", all, err)
	}
	if pids, err := f.Pids("run"); err != nil || len(pids) != 1 || pids[0] != s.Pid {
		t.Errorf("pids %v, %v, want %d", pids, err, s.Pid)
	}
	f.must(f.Kill(ctx, "run", unix.SIGKILL, false))
	if ws, err := f.Wait(ctx, "run"); err != nil || ws.Signal() != unix.SIGKILL {
		t.Errorf("%v, %v", ws, err)
	}
	f.is("run", specs.StateStopped)
}

// TestForce deletes what lives: running, paused, waiting, and with kill --all.
func TestForce(t *testing.T) {
	f := setUp(t)
	ctx := t.Context()
	for _, id := range []string{"running", "paused", "created", "all"} {
		f.create(id, CreateOptions{}, "sh", "-c", "sleep 1000 & sleep 1000")
		if id != "created" {
			f.must(f.Start(ctx, id))
		}
		switch id {
		case "paused":
			f.must(f.Pause(ctx, id))
		case "all":
			f.must(f.Kill(ctx, id, unix.SIGKILL, true))
			f.is(id, specs.StateStopped)
		}
		f.must(f.Delete(ctx, id, true))
	}
	f.must(f.Delete(ctx, "never", true))
}

// TestFailingCreate: whatever step fails, nothing is left (the books of setUp).
func TestFailingCreate(t *testing.T) {
	f := setUp(t)
	bundle := f.bundle(f.spec("x", "true"))
	pidFile := filepath.Join(t.TempDir(), "pid")
	broken := errors.New("broken")
	steps := 0
	for n := 0; n <= steps; n++ {
		steps = 0
		f.fault = func(string) error {
			if steps++; steps-1 == n {
				return broken
			}
			return nil
		}
		err := f.Create(t.Context(), "x", bundle, CreateOptions{PidFile: pidFile})
		if n < 8 && (!errors.Is(err, broken) || strings.Contains(err.Error(), "undo")) {
			t.Errorf("step %d: %v", n, err)
		}
		if err == nil {
			f.must(f.Delete(t.Context(), "x", true))
			break
		}
		if _, err := os.Stat(pidFile); err == nil {
			t.Errorf("step %d: the pid file is left", n)
		}
		if _, err := f.State("x"); !errors.Is(err, ErrNotFound) {
			t.Errorf("step %d: %v", n, err)
		}
	}
	f.fault = nil
	if steps != 8 {
		t.Errorf("%d steps", steps)
	}
}

func TestRefused(t *testing.T) {
	f := setUp(t)
	ctx := t.Context()
	user := f.spec("u", "true")
	user.Linux.Namespaces = append(user.Linux.Namespaces, specs.LinuxNamespace{Type: "user"})
	user.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 1000, Size: 1000}}
	user.Linux.GIDMappings = user.Linux.UIDMappings
	tty := f.spec("t", "true")
	tty.Process.Terminal = true
	noRoot := f.spec("n", "true")
	noRoot.Root.Path = "elsewhere"
	for _, c := range []struct {
		id, want string
		spec     *specs.Spec
	}{
		{"m", "no such file", f.spec("m", "absent")},
		{"p", "permission denied", f.spec("p", "/proc/cpuinfo")},
		{"u", "user", user},
		{"t", "console socket", tty},
		{"n", "root.path", noRoot},
		{"a/b", "invalid container id", f.spec("m", "true")},
		{"..", "invalid container id", f.spec("m", "true")},
	} {
		if err := f.Create(ctx, c.id, f.bundle(c.spec), CreateOptions{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.id, err, c.want)
		}
	}
	// A file that exists and may be run, but is no program, is found out by the kernel at the start.
	f.create("b", CreateOptions{}, "broken")
	err := f.Start(ctx, "b")
	if e, ok := errors.AsType[*container.InitError](err); !ok || e.Errno != syscall.ENOEXEC {
		t.Errorf("start: %v", err)
	}
	if _, err := f.Wait(ctx, "b"); err != nil {
		t.Error(err)
	}
	f.is("b", specs.StateStopped)
}

// TestCgroupOfAnother: two containers never share one cgroup, since deleting one would end both.
func TestCgroupOfAnother(t *testing.T) {
	f := setUp(t)
	f.create("one", CreateOptions{}, "sleep", "1000")
	if err := f.Create(t.Context(), "two", f.bundle(f.spec("one", "true")), CreateOptions{}); !errors.Is(err, ErrExists) {
		t.Errorf("%v", err)
	}
	f.is("one", specs.StateCreated)
}

func TestConsole(t *testing.T) {
	f := setUp(t)
	path := filepath.Join(t.TempDir(), "console")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	f.must(err)
	defer l.Close()
	s := f.spec("tty", "tty")
	s.Process.Terminal = true
	got := make(chan *os.File, 1)
	go func() { got <- receiveMaster(l) }()
	f.must(f.Create(t.Context(), "tty", f.bundle(s), CreateOptions{ConsoleSocket: path}))
	defer func() { f.must(f.Delete(context.Background(), "tty", true)) }()
	master := <-got
	if master == nil {
		t.Fatal("no terminal came")
	}
	defer master.Close()
	f.must(f.Start(t.Context(), "tty"))
	buf := make([]byte, 64)
	n, err := master.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "/dev/") {
		t.Errorf("%q, %v", buf[:n], err)
	}
	ws, err := f.Wait(t.Context(), "tty")
	if err != nil || ws.ExitStatus() != 0 {
		t.Errorf("%v, %v", ws, err)
	}
}

func receiveMaster(l *net.UnixListener) *os.File {
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	buf, oob := make([]byte, 256), make([]byte, 64)
	_, n, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil
	}
	m, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(m) != 1 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&m[0])
	if err != nil || len(fds) != 1 {
		return nil
	}
	return os.NewFile(uintptr(fds[0]), "master")
}
