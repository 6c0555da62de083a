package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	ocgroups "github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/monitor"
	_ "github.com/slipway-cri/slipway/oci/initproc/reexec"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// TestMain makes the test binary agent, monitor and (by reexec) init.
func TestMain(m *testing.M) {
	monitor.MaybeRun()
	os.Exit(m.Run())
}

// node is a real monitor with containers that run a static busybox.
type node struct {
	*Runtime
	t     testing.TB
	ctx   context.Context
	l     layout.Layout
	lower string
	exits chan Exit
}

func newNode(t testing.TB) *node {
	t.Helper()
	kerneltest.NeedRoot(t)
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs a static busybox as /bin/busybox: ", err)
	}
	// The library keeps one descriptor of /sys/fs/cgroup for good: before the books are taken.
	_, _ = ocgroups.ReadFile("/sys/fs/cgroup", "none")
	dir := t.TempDir()
	l := layout.New(dir+"/root", dir+"/state")
	kerneltest.Balance(t, kerneltest.Scope{Dirs: []string{dir}, Name: path.Base(l.CgroupParent())})
	lower := dir + "/layers/base"
	for _, d := range []string{lower + "/bin", lower + "/proc", lower + "/dev", lower + "/tmp", dir + "/state"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(lower+"/bin/busybox", busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("busybox", lower+"/bin/sh"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	n := &node{t: t, ctx: ctx, l: l, lower: lower, exits: make(chan Exit, 100)}
	n.connect()
	t.Cleanup(func() {
		if err := n.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			b, _ := os.ReadFile(l.MonitorLog())
			t.Logf("monitor's log:\n%s", b)
		}
	})
	return n
}

func (n *node) connect() {
	n.t.Helper()
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	r, err := New(n.ctx, n.l, Options{MonitorPath: "/proc/self/exe", InitPath: initPath(), Log: logrus.NewEntry(quiet)})
	if err != nil {
		n.t.Fatal(err)
	}
	r.SetExitHandler(func(e Exit) { n.exits <- e })
	n.Runtime = r
}

func (n *node) pod(id string, pid bool) (SandboxSpec, *Sandbox) {
	n.t.Helper()
	s := SandboxSpec{
		ID: id, Network: true, IPC: true, UTS: true, PID: pid, Hostname: "web",
		Sysctls: map[string]string{"net.ipv4.ip_forward": "1"},
		PinDir:  filepath.Join(n.l.PodState(id), "ns"), CgroupPath: n.l.CgroupParent() + "/pod" + id, OwnCgroup: true,
	}
	if err := os.MkdirAll(s.PinDir, 0o700); err != nil {
		n.t.Fatal(err)
	}
	box, err := n.CreateSandbox(n.ctx, s)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.ReleaseSandbox(n.ctx, id); err != nil {
		n.t.Fatal(err)
	}
	return s, box
}

// container is a container of a pod that runs sh -c script.
func (n *node) container(id string, s SandboxSpec, box *Sandbox, script string) ContainerSpec {
	n.t.Helper()
	dir := n.l.ContainerDir(id)
	for _, d := range []string{dir + "/upper", dir + "/work"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
	pidNS := specs.LinuxNamespace{Type: specs.PIDNamespace}
	if s.PID {
		pidNS.Path = fmt.Sprintf("/proc/%d/ns/pid", box.Pid)
	}
	return ContainerSpec{
		ID: id, LowerBase: filepath.Dir(n.lower), Lower: []string{filepath.Base(n.lower)},
		Upper: dir + "/upper", Work: dir + "/work", LogPath: dir + "/log",
		Spec: &specs.Spec{
			Version: specs.Version, Root: &specs.Root{Path: "rootfs"},
			Process: &specs.Process{
				Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}, Cwd: "/",
				Capabilities: &specs.LinuxCapabilities{},
			},
			Mounts: []specs.Mount{{Type: "proc", Source: "proc", Destination: "/proc"}},
			Linux: &specs.Linux{
				CgroupsPath: s.CgroupPath + "/" + id,
				Resources:   &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
				Namespaces: []specs.LinuxNamespace{
					{Type: specs.MountNamespace}, pidNS,
					{Type: specs.NetworkNamespace, Path: box.NetNS}, {Type: specs.IPCNamespace, Path: box.IPCNS},
					{Type: specs.UTSNamespace, Path: box.UTSNS},
				},
			},
		},
	}
}

func (n *node) run(c ContainerSpec) (pid int) {
	n.t.Helper()
	pid, err := n.Create(n.ctx, c)
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.Start(n.ctx, c.ID); err != nil {
		n.t.Fatal(err)
	}
	return pid
}

func (n *node) exit() Exit {
	n.t.Helper()
	select {
	case e := <-n.exits:
		return e
	case <-n.ctx.Done():
		n.t.Fatal("no exit was told")
		return Exit{}
	}
}

func (n *node) remove(s SandboxSpec, containers ...ContainerSpec) {
	n.t.Helper()
	for range 2 { // both are repeatable
		for _, c := range containers {
			if err := n.Delete(n.ctx, c.ID, c.Spec.Linux.CgroupsPath); err != nil {
				n.t.Error(err)
			}
		}
		if err := n.RemoveSandbox(n.ctx, s); err != nil {
			n.t.Error(err)
		}
	}
}

func TestPodWithContainers(t *testing.T) {
	for _, pidNS := range []bool{false, true} {
		t.Run(fmt.Sprintf("pod pid namespace %v", pidNS), func(t *testing.T) {
			n := newNode(t)
			s, box := n.pod("p1", pidNS)
			c := n.container("c1", s, box, "hostname; cat /proc/sys/net/ipv4/ip_forward; echo $$; exit 7")
			c.Spec.Process.Args[2] = "busybox hostname; busybox cat /proc/sys/net/ipv4/ip_forward; echo $$ >&2; exit 7"
			n.run(c)
			if e := n.exit(); e.ID != "c1" || e.Code != 7 || e.Unknown || e.StartedAt.IsZero() {
				t.Errorf("exit %+v", e)
			}
			log, err := os.ReadFile(c.LogPath)
			text := string(log)
			if err != nil || !strings.Contains(text, "F web\n") || !strings.Contains(text, "F 1\n") {
				t.Errorf("log %q, %v", text, err)
			}
			if own := strings.Contains(text, "stderr F 1\n"); own == pidNS {
				t.Errorf("with a pod PID namespace: %v, PID 1: %v\n%s", pidNS, own, text)
			}
			n.remove(s, c)
		})
	}
}

func TestUsageAndPause(t *testing.T) {
	n := newNode(t)
	s, box := n.pod("p1", false)
	c := n.container("c1", s, box, "while :; do :; done")
	n.run(c)
	cg := c.Spec.Linux.CgroupsPath
	first := n.usageAbove(cg, 0)
	if first.Pids != 1 || first.MemoryBytes == 0 || first.WorkingSetBytes > first.MemoryBytes {
		t.Errorf("usage %+v", first)
	}
	if pod, err := n.Usage(s.CgroupPath); err != nil || pod.CPUNanos < first.CPUNanos {
		t.Errorf("usage of the pod %+v, %v", pod, err)
	}
	if err := n.Pause(n.ctx, cg); err != nil {
		t.Fatal(err)
	}
	frozen, err := n.Usage(cg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Resume(n.ctx, cg); err != nil {
		t.Fatal(err)
	}
	n.usageAbove(cg, frozen.CPUNanos)
	limit := int64(64 << 20)
	if err := n.Update(n.ctx, cg, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}); err != nil {
		t.Error(err)
	}
	if u, err := n.Usage(cg); err != nil || u.AvailableBytes == nil || *u.AvailableBytes > 64<<20 {
		t.Errorf("usage after the update: %+v, %v", u, err)
	}
	n.remove(s, c)
	if e := n.exit(); e.Signal != int(unix.SIGKILL) {
		t.Errorf("exit %+v, want SIGKILL", e)
	}
	if _, err := n.Usage(cg); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("usage of what is gone: %v", err)
	}
}

// usageAbove reads until the CPU time has passed than.
func (n *node) usageAbove(cg string, than uint64) *Usage {
	n.t.Helper()
	for {
		u, err := n.Usage(cg)
		if err != nil {
			n.t.Fatal(err)
		}
		if u.CPUNanos > than {
			return u
		}
		if n.ctx.Err() != nil {
			n.t.Fatalf("CPU time stays at %d", u.CPUNanos)
		}
		time.Sleep(time.Millisecond) // polling a counter
	}
}

func TestExecs(t *testing.T) {
	n := newNode(t)
	s, box := n.pod("p1", false)
	c := n.container("c1", s, box, "exec busybox sleep 1000")
	pid := n.run(c)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	x := ExecSpec{
		ID:      "x1",
		Process: &specs.Process{Args: []string{"/bin/sh", "-c", "busybox ps | busybox grep -c sleep; exit 3"}, Env: []string{"PATH=/bin"}, Cwd: "/"},
		Stdio:   [3]*os.File{nil, w, w},
	}
	e, err := n.Exec(n.ctx, "c1", x, c.Spec)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil || strings.TrimSpace(string(out)) == "0" || len(out) == 0 {
		t.Errorf("the exec sees %q, %v", out, err)
	}
	if exit := <-e.Done; exit.Code != 3 {
		t.Errorf("exit %+v", exit)
	}
	x.ID, x.Stdio, x.Process.Args = "x2", [3]*os.File{}, []string{"/nosuch"}
	_, err = n.Exec(n.ctx, "c1", x, c.Spec)
	var le *monitor.LaunchError
	if !errors.As(err, &le) || !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "/nosuch") {
		t.Errorf("missing executable: %v", err)
	}
	n.killExec(c)
	if err := unix.Kill(pid, 0); err != nil {
		t.Errorf("the container went with the exec: %v", err)
	}
	if live, err := n.Live(n.ctx); err != nil || slices.ContainsFunc(live, func(l Live) bool { return l.Exec && l.Running }) {
		t.Errorf("live %+v, %v", live, err)
	}
	n.remove(s, c)
}

// killExec kills an exec with children that hold its stdout open; only an end of all of
// them ends the pipe.
func (n *node) killExec(c ContainerSpec) {
	n.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		n.t.Fatal(err)
	}
	defer r.Close()
	e, err := n.Exec(n.ctx, "c1", ExecSpec{
		ID:      "x3",
		Process: &specs.Process{Args: []string{"/bin/sh", "-c", "busybox sleep 1001 & echo up; busybox sleep 1002"}, Env: []string{"PATH=/bin"}, Cwd: "/"},
		Stdio:   [3]*os.File{nil, w, w},
	}, c.Spec)
	w.Close()
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 3)); err != nil {
		n.t.Fatal(err)
	}
	if err := n.KillExec(n.ctx, "x3"); err != nil {
		n.t.Error(err)
	}
	if x := <-e.Done; x.Signal != int(unix.SIGKILL) {
		n.t.Errorf("exit %+v, want SIGKILL", x)
	}
	if err := r.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		n.t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err != nil {
		n.t.Errorf("a process of the exec's session is left: %v", err)
	}
}

func TestMissingExecutable(t *testing.T) {
	n := newNode(t)
	s, box := n.pod("p1", false)
	c := n.container("c1", s, box, "")
	c.Spec.Process.Args = []string{"/nosuch"}
	_, err := n.Create(n.ctx, c)
	if err == nil {
		_, err = n.Start(n.ctx, "c1")
		if e := n.exit(); e.ID != "c1" || e.Code == 0 {
			t.Errorf("exit %+v", e)
		}
	}
	if !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "/nosuch") {
		t.Errorf("error %v, want ENOENT that names the path", err)
	}
	n.remove(s, c)
}

// TestFailedCreateLeavesNothing: init fails inside; the books are the assertion.
func TestFailedCreateLeavesNothing(t *testing.T) {
	n := newNode(t)
	s, box := n.pod("p1", true)
	c := n.container("c1", s, box, "true")
	c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Type: "bind", Source: "/no/such/source", Destination: "/x", Options: []string{"bind"}})
	_, err := n.Create(n.ctx, c)
	var le *monitor.LaunchError
	if !errors.As(err, &le) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("error %v, want a LaunchError with ENOENT", err)
	}
	cg, _ := n.doors.open(c.Spec.Linux.CgroupsPath)
	if !cg.RemoveEmpty() {
		t.Error("its cgroup is in use")
	}
	n.remove(s)
}

// TestAgentRestarts: another runtime on the same monitor finds the container and gets its exit.
func TestAgentRestarts(t *testing.T) {
	n := newNode(t)
	s, box := n.pod("p1", true)
	c := n.container("c1", s, box, "read x < /tmp/go; exit 9")
	upper := c.Upper + "/tmp"
	if err := os.MkdirAll(upper, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(upper+"/go", 0o600); err != nil {
		t.Fatal(err)
	}
	pid := n.run(c)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n.connect()
	live, err := n.Live(n.ctx)
	if err != nil || len(live) != 2 {
		t.Fatalf("live %+v, %v", live, err)
	}
	if l := live[0]; l.ID != "c1" || l.Pid != pid || !l.Running || l.Holder || l.Exit != nil {
		t.Errorf("container %+v", l)
	}
	if l := live[1]; l.ID != "p1" || !l.Holder || l.Pid != box.Pid {
		t.Errorf("reaper %+v", l)
	}
	// Through the container's own view: overlayfs's pipe is another than the upper directory's.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/tmp/go", pid), []byte("\n"), 0); err != nil {
		t.Fatal(err)
	}
	if e := n.exit(); e.ID != "c1" || e.Code != 9 {
		t.Errorf("exit %+v", e)
	}
	n.remove(s, c)
}

// TestMonitorIsKilled: its containers are ended and told as unknown, and work goes on
// with a new one.
func TestMonitorIsKilled(t *testing.T) {
	n := newNode(t)
	s, box := n.pod("p1", true)
	c := n.container("c1", s, box, "exec busybox sleep 1000")
	pid := n.run(c)
	m, err := n.monitor(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(m.(*monitor.Client).Pid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := n.exit(); e.ID != "c1" || e.Code != 255 || !e.Unknown {
		t.Errorf("exit %+v, want 255, unknown", e)
	}
	if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(data), ") Z ") {
		t.Errorf("the container's process lives: %s", data)
	}
	n.remove(s, c)
	s, box = n.pod("p2", false)
	c = n.container("c2", s, box, "exit 4")
	n.run(c)
	if e := n.exit(); e.ID != "c2" || e.Code != 4 {
		t.Errorf("exit %+v", e)
	}
	n.remove(s, c)
}

// TestDeleteWithoutRecord: a process that no record knows goes with its cgroup.
func TestDeleteWithoutRecord(t *testing.T) {
	n := newNode(t)
	s, box := n.pod("p1", false)
	c := n.container("c1", s, box, "exec busybox sleep 1000")
	n.run(c)
	if err := n.Delete(n.ctx, "c1", ""); err != nil {
		t.Error(err)
	}
	if _, err := n.Usage(c.Spec.Linux.CgroupsPath); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("its cgroup: %v", err)
	}
	n.remove(s)
}

func TestHostFacts(t *testing.T) {
	h, err := probeHost()
	if err != nil {
		t.Fatal(err)
	}
	if h.CgroupMode == "" || h.CgroupV2 != (h.CgroupMode == "v2") || h.OOMScoreMin < -1000 || h.lastCap < 37 {
		t.Errorf("%+v", h)
	}
	kerneltest.NeedRoot(t)
	if !slices.Contains(h.BoundingCaps, "CAP_CHOWN") || !h.features.CgroupNS {
		t.Errorf("%+v", h)
	}
}

// initPath is the small slipway-init where `make test` has built it, else this binary.
func initPath() string {
	if dir := os.Getenv("SLIPWAY_TEST_BIN"); dir != "" {
		return filepath.Join(dir, "slipway-init")
	}
	return "/proc/self/exe"
}
