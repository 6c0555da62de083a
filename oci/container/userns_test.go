package container_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/container"
	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kerneltest"
	"github.com/slipway-cri/slipway/oci/mounts"
)

const userBase = 400000

// userHolder is a waiting holder of a user namespace and of what newFlags makes in it.
func userHolder(t testing.TB, newFlags uintptr) *container.Process {
	t.Helper()
	maps := []syscall.SysProcIDMap{{ContainerID: 0, HostID: userBase, Size: 65536}}
	c := &initconf.Config{Mode: initconf.ModeHolder, NewSession: true}
	p, _ := launch(t, c, newFlags|unix.CLONE_NEWUSER, func(l *container.Launch) { l.UIDMap, l.GIDMap = maps, maps })
	return p
}

func open(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// mapRoot makes the root of c as an agent does: on a thread with its own mount namespace.
func mapRoot(t testing.TB, c *initconf.Config, userns int) {
	t.Helper()
	done := make(chan error, 1)
	var work func()
	work = func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			wait := make(chan struct{})
			go func() { work(); close(wait) }()
			<-wait
			return
		}
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = mounts.Mapped(mounts.Linux{}, c, userns)
		}
		done <- err
	}
	go work()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func userLaunch(t testing.TB, c *initconf.Config, holder *container.Process) func(*container.Launch) {
	t.Helper()
	ns := func(kind string) *os.File { return open(t, "/proc/"+strconv.Itoa(holder.Pid)+"/ns/"+kind) }
	user := ns("user")
	mapRoot(t, c, int(user.Fd()))
	root := os.NewFile(uintptr(c.Root.FD), "root")
	t.Cleanup(func() { root.Close() })
	c.Root.FD, c.Extra = initconf.FDExtra, 1
	join := &container.User{NS: int(user.Fd()), Joins: []int{int(ns("net").Fd()), int(ns("uts").Fd()), int(ns("ipc").Fd())}}
	return func(l *container.Launch) { l.User, l.Extra = join, []*os.File{root} }
}

func mappedConfig(t testing.TB, script string) *initconf.Config {
	t.Helper()
	base, own := t.TempDir(), t.TempDir()
	for _, d := range []string{own + "/up", own + "/work", base + "/empty"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(rootfs(t), filepath.Join(base, "low")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(own+"/up", userBase, userBase); err != nil {
		t.Fatal(err)
	}
	c := config("", "sh", "-c", script)
	c.Root = initconf.Root{LowerBase: base, Lower: []string{"low", "empty"}, Upper: own + "/up", Work: own + "/work"}
	return c
}

// A child is born in a user namespace that exists, is this process's child, and is root there.
func TestUserNamespace(t *testing.T) {
	balance(t)
	holder := userHolder(t, unix.CLONE_NEWNET|unix.CLONE_NEWUTS|unix.CLONE_NEWIPC)
	c := mappedConfig(t, "id -u; cat /proc/self/uid_map; stat -c %u /bin/busybox /; echo x > /made; echo $$; readlink /proc/self/ns/user")
	join := userLaunch(t, c, holder)
	p, output := launch(t, c, unix.CLONE_NEWNS|unix.CLONE_NEWPID, join)
	ready(t, p)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	code := wait(t, p)
	out := output()
	want, err := os.Readlink("/proc/" + strconv.Itoa(holder.Pid) + "/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(out)
	if code != 0 || len(f) < 8 || strings.Join(f[:7], " ") != "0 0 400000 65536 0 0 1" || f[7] != want {
		t.Errorf("exit %d, %q; want user namespace %s", code, out, want)
	}
	var st unix.Stat_t
	if err := unix.Stat(c.Root.Upper+"/made", &st); err != nil || st.Uid != userBase {
		t.Errorf("on disk it belongs to %d, %v", st.Uid, err)
	}
}

// Each step that fails is named, and leaves no process.
func TestUserNamespaceFails(t *testing.T) {
	balance(t)
	null := open(t, "/dev/null")
	holder := userHolder(t, unix.CLONE_NEWNET|unix.CLONE_NEWUTS)
	for step, spoil := range map[string]func(*container.Launch){
		"enter the cgroup":        func(l *container.Launch) { l.User.Tasks = []int{int(null.Fd())} },
		"join a namespace":        func(l *container.Launch) { l.User.Joins = []int{int(null.Fd())} },
		"join the user namespace": func(l *container.Launch) { l.User.NS = int(null.Fd()) },
		"join the pid namespace":  func(l *container.Launch) { l.PIDNS = int(null.Fd()) },
		"clone":                   func(l *container.Launch) { l.CloneFlags |= unix.CLONE_SIGHAND },
		"exec":                    func(l *container.Launch) { l.Init = null },
	} {
		c := mappedConfig(t, "true")
		join := userLaunch(t, c, holder)
		l := container.Launch{
			Init: initBinary(t), Config: c.Encode(), CloneFlags: unix.CLONE_NEWNS | unix.CLONE_NEWPID,
			CgroupFD: -1, PIDNS: -1, Target: -1, StartGate: true,
		}
		join(&l)
		spoil(&l)
		p, err := container.Start(l)
		if err == nil {
			p.Close()
			t.Fatalf("%s: no error", step)
		}
		if !strings.Contains(err.Error(), "user namespace: "+step) {
			t.Errorf("%s: %v", step, err)
		}
	}
}

// BenchmarkUserNamespace is BenchmarkStart in a user namespace that exists, with the making of
// its mapped root.
func BenchmarkUserNamespace(b *testing.B) {
	kerneltest.NeedRoot(b)
	use := static(b)
	holder := userHolder(b, unix.CLONE_NEWNET|unix.CLONE_NEWUTS|unix.CLONE_NEWIPC)
	c := mappedConfig(b, "true")
	root := c.Root
	for b.Loop() {
		c.Root = root
		p, _ := launch(b, c, unix.CLONE_NEWNS|unix.CLONE_NEWPID, userLaunch(b, c, holder), use)
		ready(b, p)
		if err := p.Start(); err != nil {
			b.Fatal(err)
		}
		wait(b, p)
		p.Close()
	}
}
