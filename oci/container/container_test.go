package container_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/container"
	"github.com/slipway-cri/slipway/oci/initconf"
	_ "github.com/slipway-cri/slipway/oci/initproc/reexec"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

const newAll = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// self is this test binary as slipway-init.
var self = sync.OnceValues(func() (*os.File, error) { return container.InitMemfd("/proc/self/exe") })

func initBinary(t testing.TB) *os.File {
	t.Helper()
	f, err := self()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var applets = []string{
	"sh", "cat", "ls", "id", "sleep", "kill", "echo", "readlink", "grep", "stty", "hostname",
	"true", "false", "touch", "pwd", "ps", "stat", "mkdir", "wc", "env", "head", "ip", "dd", "tty",
}

// rootfs makes a root file system with busybox.
func rootfs(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"bin", "dev", "proc", "sys", "tmp", "etc"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile("/bin/busybox")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("needs a static /bin/busybox to run in the container")
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "bin/busybox"), program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range applets {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", a)); err != nil {
			t.Fatal(err)
		}
	}
	// t.TempDir is 0755 below a 0700 directory at times; the container's user must get in.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// defaultCaps are those that the field's runtimes give a container.
const defaultCaps = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FSETID | 1<<unix.CAP_FOWNER |
	1<<unix.CAP_MKNOD | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETPCAP |
	1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_KILL | 1<<unix.CAP_AUDIT_WRITE

// config is a container as a kubelet's would be planned.
func config(root string, args ...string) *initconf.Config {
	const flags = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	return &initconf.Config{
		Mode: initconf.ModeContainer, NewSession: true, NewKeyring: true, Hostname: "slip",
		Root: initconf.Root{Bind: root},
		Mounts: []initconf.Mount{
			{Type: "proc", Destination: "/proc", Flags: flags},
			{Type: "tmpfs", Destination: "/dev", Flags: unix.MS_NOSUID | unix.MS_STRICTATIME, Data: "mode=755,size=65536k"},
			{Type: "devpts", Destination: "/dev/pts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: "newinstance,ptmxmode=0666,mode=0620,gid=5"},
			{Type: "mqueue", Destination: "/dev/mqueue", Flags: flags},
			{Type: "sysfs", Destination: "/sys", Flags: flags | unix.MS_RDONLY},
			{Type: "tmpfs", Destination: "/dev/shm", Flags: flags, Data: "mode=1777,size=1m"},
		},
		Devices: []initconf.Device{
			{Path: "/dev/null", Type: 'c', Major: 1, Minor: 3, Mode: 0o666},
			{Path: "/dev/zero", Type: 'c', Major: 1, Minor: 5, Mode: 0o666},
			{Path: "/dev/tty", Type: 'c', Major: 5, Minor: 0, Mode: 0o666},
		},
		DevSymlinks:   true,
		MaskedPaths:   []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware", "/proc/absent"},
		ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		Capabilities:  initconf.Capabilities{Bounding: defaultCaps, Effective: defaultCaps, Permitted: defaultCaps},
		NoNewPrivs:    true, Cwd: "/", CreateCwd: true,
		Args: args, Env: []string{"PATH=/bin"},
	}
}

// launch clones c with flags; output is what the container writes to stdout and stderr.
// The process is killed and reaped when the test ends, if it still is there.
func launch(t testing.TB, c *initconf.Config, flags uintptr, more ...func(*container.Launch)) (*container.Process, func() string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := container.Launch{
		Init: initBinary(t), CloneFlags: flags, CgroupFD: -1, PIDNS: -1, Target: -1,
		Config: c.Encode(), Stdio: [3]*os.File{nil, w, w}, StartGate: c.Mode == initconf.ModeContainer,
	}
	for _, f := range more {
		f(&l)
	}
	p, err := container.Start(l)
	w.Close()
	if err != nil {
		r.Close()
		t.Fatal(err)
	}
	text := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(r)
		r.Close()
		text <- string(b)
	}()
	t.Cleanup(func() {
		_ = unix.PidfdSendSignal(int(p.Pidfd.Fd()), unix.SIGKILL, nil, 0)
		_, _ = unix.Wait4(p.Pid, nil, 0, nil)
		p.Close()
	})
	return p, func() string { return <-text }
}

func wait(t testing.TB, p *container.Process) int {
	t.Helper()
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(p.Pid, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatalf("wait: %v", err)
		}
		break
	}
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

func ready(t testing.TB, p *container.Process) *os.File {
	t.Helper()
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	console, err := p.WaitReady(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return console
}

// run runs c to its end.
func run(t *testing.T, c *initconf.Config, flags uintptr) (output string, code int) {
	t.Helper()
	p, out := launch(t, c, flags)
	ready(t, p)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	code = wait(t, p)
	return out(), code
}

// mustRun runs c and wants exit status 0.
func mustRun(t *testing.T, c *initconf.Config) string {
	t.Helper()
	out, code := run(t, c, newAll)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	return out
}

// failure runs c as far as it goes and returns init's report.
func failure(t *testing.T, c *initconf.Config) *container.InitError {
	t.Helper()
	p, out := launch(t, c, newAll)
	err := p.Release()
	if err == nil {
		_, err = p.WaitReady(t.Context())
	}
	if err == nil {
		err = p.Start()
	}
	e, ok := errors.AsType[*container.InitError](err)
	if !ok {
		t.Fatalf("err = %v (%s), want an InitError", err, out())
	}
	if code := wait(t, p); code != 1 {
		t.Errorf("exit %d after %v, want 1", code, e)
	}
	return e
}

func balance(t *testing.T) {
	t.Helper()
	kerneltest.NeedRoot(t)
	initBinary(t) // its descriptor is the test binary's, not the test's
	kerneltest.Balance(t, kerneltest.Scope{Dirs: []string{filepath.Dir(t.TempDir())}})
}

func TestContainer(t *testing.T) {
	balance(t)
	c := config(rootfs(t), "sh", "-c", `echo pid $$; hostname; id -u; pwd; ls /proc/self/fd; exit 7`)
	out, code := run(t, c, newAll)
	if want := "pid 1\nslip\n0\n/\n0\n1\n2\n3\n"; out != want || code != 7 {
		t.Errorf("exit %d, output\n%swant 7 and\n%s", code, out, want)
	}
}

func TestIdentity(t *testing.T) {
	balance(t)
	c := config(rootfs(t), "sh", "-c", `id; cat /proc/self/status; echo $HOME`)
	c.UID, c.GID, c.Gids = 1000, 1001, []uint32{1001, 5000}
	c.Capabilities.Effective, c.Capabilities.Permitted = 0, 0
	out := mustRun(t, c)
	for _, want := range []string{
		"uid=1000 gid=1001 groups=1001,5000", "CapInh:\t0000000000000000", "CapEff:\t0000000000000000",
		"CapPrm:\t0000000000000000", fmt.Sprintf("CapBnd:\t%016x", uint64(defaultCaps)), "CapAmb:\t0000000000000000",
		"NoNewPrivs:\t1", "SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "SigCgt:\t0000000000000000",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestMissingBinary(t *testing.T) {
	balance(t)
	root := rootfs(t)
	for _, arg := range []string{"nonesuch", "/bin/nonesuch"} {
		e := failure(t, config(root, arg))
		if e.Step != "exec" || e.Path != arg || e.Errno != syscall.ENOENT {
			t.Errorf("%s: %+v", arg, e)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "bin/plain"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if e := failure(t, config(root, "plain")); e.Step != "exec" || e.Errno != syscall.EACCES {
		t.Errorf("a file that may not be run: %+v", e)
	}
}
