package container_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/checkpoint"
	"github.com/slipway-cri/slipway/oci/container"
	"github.com/slipway-cri/slipway/oci/initconf"
)

// parentEnv makes the test binary the parent that is killed half-way.
const parentEnv = "SLIPWAY_TEST_PARENT"

func TestMain(m *testing.M) {
	if step := os.Getenv(parentEnv); step != "" {
		halfWay(step, os.Getenv("SLIPWAY_TEST_ROOT"))
	}
	os.Exit(m.Run())
}

// steps of a start, in order. The user's program may run after the last alone.
var steps = []string{"cloned", "released", "ready", "started"}

// halfWay starts a container up to a step, says so, and waits to be killed.
func halfWay(step, root string) {
	die := func(err error) {
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	self, err := container.InitMemfd("/proc/self/exe")
	die(err)
	c := config(root, "touch", "/ran")
	p, err := container.Start(container.Launch{
		Init: self, CloneFlags: newAll, CgroupFD: -1, PIDNS: -1, Target: -1, Config: c.Encode(), StartGate: true,
	})
	die(err)
	if at := slices.Index(steps, step); at >= 1 {
		die(p.Release())
		if at >= 2 {
			_, err := p.WaitReady(context.Background())
			die(err)
		}
		if at >= 3 {
			die(p.Start())
		}
	}
	fmt.Println(p.Pid)
	select {}
}

// TestParentKilled kills the parent at every step: nothing of the user's may run unless
// the start gate had been opened, and init must end by itself.
func TestParentKilled(t *testing.T) {
	balance(t)
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			root := rootfs(t)
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{parentEnv + "=" + step, "SLIPWAY_TEST_ROOT=" + root}
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			var pid int
			if _, e := fmt.Sscan(line, &pid); err != nil || e != nil {
				t.Fatalf("parent said %q, %v", line, err)
			}
			pidfd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(pidfd)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			gone := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
			if n, err := unix.Poll(gone, 10_000); n != 1 {
				t.Fatalf("init is still there: %v", err)
			}
			_, _ = unix.Wait4(pid, nil, 0, nil) // ours now, as subreaper
			_, err = os.Stat(filepath.Join(root, "ran"))
			if ran := err == nil; ran != (step == "started") {
				t.Errorf("the user's program ran: %v", ran)
			}
		})
	}
}

func TestAbort(t *testing.T) {
	balance(t)
	root := rootfs(t)
	for _, at := range []string{"checkpoint", "start"} {
		p, out := launch(t, config(root, "touch", "/ran"), newAll)
		if at == "start" {
			ready(t, p)
		}
		p.Abort()
		if code := wait(t, p); code != checkpoint.ExitAborted {
			t.Errorf("%s: exit %d, want %d: %s", at, code, checkpoint.ExitAborted, out())
		}
		if err := p.Release(); !errors.Is(err, container.ErrNoGate) {
			t.Errorf("release after abort: %v", err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "ran")); err == nil {
		t.Error("ran")
	}
}

// TestKilledInit: a child that dies without a word is an error at each step, not a hang.
func TestKilledInit(t *testing.T) {
	balance(t)
	p, _ := launch(t, config(rootfs(t), "true"), newAll)
	if err := unix.PidfdSendSignal(int(p.Pidfd.Fd()), unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	if err := p.Release(); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("release: %v", err)
	}
	if _, err := p.WaitReady(t.Context()); !errors.Is(err, container.ErrGone) {
		t.Errorf("wait: %v", err)
	}
}

// TestInheritedDispositions: SIGHUP ignored in the parent is not ignored inside, and no
// stray descriptor of the parent arrives.
func TestInheritedDispositions(t *testing.T) {
	balance(t)
	stray, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0) // not close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	// nohup and some service managers start programs like this.
	cmd := exec.Command("/bin/sh", "-c", `trap "" HUP PIPE; exec "$0" "$@"`,
		fmt.Sprintf("/proc/%d/exe", os.Getpid()), "-test.run=^TestContainer$|^TestIdentity$", "-test.v")
	root := os.NewFile(uintptr(stray), "/")
	defer root.Close()
	cmd.ExtraFiles = []*os.File{root}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "--- PASS") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestExec(t *testing.T) {
	balance(t)
	p, _ := launch(t, config(rootfs(t), "sleep", "100"), newAll)
	ready(t, p)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	pidns, err := os.Open(fmt.Sprintf("/proc/%d/ns/pid", p.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer pidns.Close()
	c := config("", "sh", "-c", "hostname; ls /proc/self/fd; cat /proc/1/cmdline; exit 3")
	c.Mode, c.Hostname, c.Mounts, c.Devices = initconf.ModeExec, "", nil, nil
	c.DevSymlinks, c.MaskedPaths, c.ReadonlyPaths = false, nil, nil
	c.TargetFlags = newAll &^ unix.CLONE_NEWPID
	join := func(l *container.Launch) {
		l.PIDNS, l.Target = int(pidns.Fd()), int(p.Pidfd.Fd())
	}
	e, out := launch(t, c, 0, join)
	ready(t, e)
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	code := wait(t, e)
	if want := "slip\n0\n1\n2\n3\nsleep\x00100\x00"; code != 3 || out() != want {
		t.Errorf("exit %d, output not %q", code, want)
	}
	for n := 3; n <= 64; n++ {
		c.Cwd, c.CreateCwd = "/proc/self/fd/"+itoa(n), n%2 == 0
		e, _ := launch(t, c, 0, join)
		if err := e.Release(); err != nil {
			t.Fatal(err)
		}
		ie, ok := errors.AsType[*container.InitError](second(e.WaitReady(t.Context())))
		if !ok || ie.Step != "cwd" {
			t.Errorf("fd %d: %v", n, ie)
		}
		wait(t, e)
	}
	c.Cwd, c.Args = "/", []string{"nonesuch"}
	e, _ = launch(t, c, 0, join)
	ready(t, e)
	if ie, ok := errors.AsType[*container.InitError](e.Start()); !ok || ie.Step != "exec" || ie.Errno != syscall.ENOENT {
		t.Errorf("missing binary: %v", ie)
	}
	wait(t, e)
}

func second(_ *os.File, err error) error { return err }

func TestTerminal(t *testing.T) {
	balance(t)
	c := config(rootfs(t), "sh", "-c", "stty size; tty; stat -c %t /dev/console; ls /proc/self/fd | wc -l; echo $(cat)")
	c.Terminal, c.ConsoleHeight, c.ConsoleWidth = true, 33, 77
	p, _ := launch(t, c, newAll)
	console := ready(t, p)
	if console == nil {
		t.Fatal("no console came")
	}
	defer console.Close()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := console.WriteString("typed\n\x04"); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	buf := make([]byte, 1024)
	for {
		n, err := console.Read(buf)
		text.Write(buf[:n])
		if err != nil { // EIO: the last slave is closed
			break
		}
	}
	wait(t, p)
	out := strings.ReplaceAll(text.String(), "\r\n", "\n")
	for _, want := range []string{"33 77\n", "/dev/pts/0\n", "88\n", "4\n", "typed\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
}

// TestHolder pins a pod's namespaces, and a container joins them.
func TestHolder(t *testing.T) {
	balance(t)
	h := &initconf.Config{Mode: initconf.ModeHolder, Hostname: "pod", NewSession: true,
		Sysctls: []initconf.Sysctl{{Path: "net/ipv4/ip_unprivileged_port_start", Value: "99"}, {Path: "kernel/shm_rmid_forced", Value: "1"}}}
	p, out := launch(t, h, unix.CLONE_NEWNET|unix.CLONE_NEWIPC|unix.CLONE_NEWUTS)
	pins := t.TempDir()
	c := config(rootfs(t), "sh", "-c", "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced; ip addr show lo")
	c.Hostname = ""
	for name, flag := range map[string]uint32{"net": unix.CLONE_NEWNET, "ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS} {
		pin := filepath.Join(pins, name)
		if err := os.WriteFile(pin, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(fmt.Sprintf("/proc/%d/ns/%s", p.Pid, name), pin, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Unmount(pin, unix.MNT_DETACH) }()
		c.Joins = append(c.Joins, initconf.Join{Flag: flag, Path: pin})
	}
	ready(t, p)
	if code := wait(t, p); code != 0 {
		t.Fatalf("holder: exit %d %s", code, out())
	}
	got, code := run(t, c, unix.CLONE_NEWPID|unix.CLONE_NEWNS)
	if code != 0 || !strings.HasPrefix(got, "pod\n99\n1\n") || !strings.Contains(got, "127.0.0.1/8") {
		t.Errorf("exit %d:\n%s", code, got)
	}
}

func TestBadSysctl(t *testing.T) {
	balance(t)
	for _, name := range []string{"../self/attr/exec", "kernel//x", "kernel/none", "net/../kernel/x"} {
		c := config(rootfs(t), "true")
		c.Sysctls = []initconf.Sysctl{{Path: name, Value: "1"}}
		if e := failure(t, c); e.Step != "sysctl" || e.Path != name {
			t.Errorf("%+v", e)
		}
	}
}

// static has the launch use the production binary, which needs no loader. Without a go
// command, as in a VM, the test binary itself was built that way.
func static(t testing.TB) func(*container.Launch) {
	t.Helper()
	if dir := os.Getenv("SLIPWAY_TEST_BIN"); dir != "" {
		return from(t, filepath.Join(dir, "slipway-init"))
	}
	path := filepath.Join(t.TempDir(), "slipway-init")
	build := exec.Command("go", "build", "-o", path, "github.com/slipway-cri/slipway/cmd/slipway-init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return from(t, path)
}

// from makes a launch use the slipway-init at path.
func from(t testing.TB, path string) func(*container.Launch) {
	t.Helper()
	f, err := container.InitMemfd(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return func(l *container.Launch) { l.Init = f }
}

// TestReaper: PID 1 of a pod reaps orphans, shows nothing of the host, has no privileges
// and ends on SIGTERM.
func TestReaper(t *testing.T) {
	balance(t)
	p, _ := launch(t, &initconf.Config{Mode: initconf.ModeReaper, Hostname: "pod", NewSession: true},
		unix.CLONE_NEWPID|unix.CLONE_NEWUTS|unix.CLONE_NEWIPC, static(t))
	ready(t, p)
	pidns, err := os.Open(fmt.Sprintf("/proc/%d/ns/pid", p.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer pidns.Close()
	c := config(rootfs(t), "sh", "-c", `echo $$; ls -A /proc/1/root/ | wc -l; grep Cap /proc/1/status
(sleep 0.05 & echo $! > /tmp/orphan) & wait
while [ -e /proc/$(cat /tmp/orphan) ]; do :; done; ls /proc/1/task/1/fd; exit 4`)
	e, out := launch(t, c, unix.CLONE_NEWNS, func(l *container.Launch) { l.PIDNS = int(pidns.Fd()) })
	ready(t, e)
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	code, text := wait(t, e), ""
	if text = out(); code != 4 || strings.HasPrefix(text, "1\n") || !strings.Contains(text, "\n0\nCapInh") ||
		strings.Count(text, "0000000000000000") != 5 || !strings.HasSuffix(text, "\n0\n1\n2\n") {
		t.Errorf("exit %d:\n%s", code, text)
	}
	if err := unix.PidfdSendSignal(int(p.Pidfd.Fd()), unix.SIGTERM, nil, 0); err != nil {
		t.Fatal(err)
	}
	if code := wait(t, p); code != 0 {
		t.Errorf("reaper: exit %d", code)
	}
}

// TestAdopt: another owner of the same descriptors goes on where the first stopped.
func TestAdopt(t *testing.T) {
	balance(t)
	p, out := launch(t, config(rootfs(t), "echo", "hi"), newAll)
	ready(t, p)
	q := p.Parts()
	copyOf := func(f *os.File) *os.File {
		if f == nil {
			return nil
		}
		raw, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var fd int
		if e := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3) }); e != nil || err != nil {
			t.Fatal(e, err)
		}
		return os.NewFile(uintptr(fd), f.Name())
	}
	heir := container.Adopt(container.Parts{Pid: q.Pid, Pidfd: copyOf(q.Pidfd), Start: copyOf(q.Start), Report: copyOf(q.Report), Ready: q.Ready})
	defer heir.Close()
	pid := p.Pid
	p.Abort() // the first owner's copies go; the heir's keep the gate from closing
	if err := heir.Start(); err != nil {
		t.Fatal(err)
	}
	if code := wait(t, &container.Process{Pid: pid}); code != 0 || out() != "hi\n" {
		t.Errorf("exit %d", code)
	}
	if err := heir.Start(); !errors.Is(err, container.ErrNoGate) {
		t.Errorf("second start: %v", err)
	}
}

// TestDeadline: a context that ends ends the waiting, and the next call is not disturbed.
func TestDeadline(t *testing.T) {
	balance(t)
	p, _ := launch(t, config(rootfs(t), "true"), newAll)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := p.WaitReady(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait: %v", err)
	}
	ready(t, p)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if code := wait(t, p); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// TestSealed: nobody writes to what runs as init (CVE-2019-5736).
func TestSealed(t *testing.T) {
	f := initBinary(t)
	if _, err := f.WriteAt([]byte{0}, 0); !errors.Is(err, syscall.EPERM) {
		t.Errorf("write: %v", err)
	}
	if err := f.Truncate(0); !errors.Is(err, syscall.EPERM) {
		t.Errorf("truncate: %v", err)
	}
}

// TestParallel launches from several goroutines at once: gates of one must not be held
// open by another's child.
func TestParallel(t *testing.T) {
	balance(t)
	root := rootfs(t)
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			deadline := time.AfterFunc(30*time.Second, func() { panic("stuck") })
			defer deadline.Stop()
			if out := mustRun(t, config(root, "echo", "hi")); out != "hi\n" {
				t.Error(out)
			}
		})
	}
}
