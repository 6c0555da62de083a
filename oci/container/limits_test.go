package container_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/container"
	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// cgroup2 finds where cgroup2 is mounted: everything on v2, beside v1 on a hybrid machine.
func cgroup2(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	t.Skip("no cgroup2 is mounted")
	return ""
}

func makeCgroup(t *testing.T, parent string) string {
	t.Helper()
	dir := filepath.Join(parent, fmt.Sprintf("slipwaytest%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestCgroups: on v2 the child is born in its cgroup; on v1 it moves itself. Either way
// its cgroup namespace begins there.
func TestCgroups(t *testing.T) {
	kerneltest.NeedRoot(t)
	initBinary(t)
	kerneltest.Balance(t, kerneltest.Scope{Name: fmt.Sprintf("slipwaytest%d", os.Getpid())})
	c := config(rootfs(t), "cat", "/proc/self/cgroup")
	c.Unshare = unix.CLONE_NEWCGROUP
	born := makeCgroup(t, cgroup2(t))
	fd, err := os.Open(born)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	moved := ""
	if _, err := os.Stat("/sys/fs/cgroup/pids/tasks"); err == nil {
		moved = makeCgroup(t, "/sys/fs/cgroup/pids")
		c.Cgroups = []string{moved + "/tasks"}
	}
	p, out := launch(t, c, newAll, func(l *container.Launch) { l.CgroupFD = int(fd.Fd()) })
	here, err := os.ReadFile(born + "/cgroup.procs")
	if err != nil || strings.TrimSpace(string(here)) != fmt.Sprint(p.Pid) {
		t.Errorf("before the release: %q, %v, want %d", here, err, p.Pid)
	}
	ready(t, p)
	if moved != "" {
		if here, err := os.ReadFile(moved + "/tasks"); err != nil || strings.TrimSpace(string(here)) != fmt.Sprint(p.Pid) {
			t.Errorf("v1: %q, %v, want %d", here, err, p.Pid)
		}
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	text := out()
	if !strings.Contains(text, "0::/\n") || moved != "" && !strings.Contains(text, "pids:/\n") {
		t.Errorf("seen from inside:\n%s", text)
	}
}

func TestLimits(t *testing.T) {
	balance(t)
	root := rootfs(t)
	c := config(root, "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj; umask; touch /tmp/f; stat -c %a /tmp/f")
	c.Rlimits = []initconf.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 100, Hard: 200}, {Resource: unix.RLIMIT_CORE}}
	c.OOMScoreAdj, c.HasOOMScoreAdj = 777, true
	c.Umask, c.HasUmask = 0o077, true
	if out := mustRun(t, c); out != "100\n200\n0\n777\n0077\n600\n" {
		t.Errorf("output %q", out)
	}
	c.Root.Bind = rootfs(t)
	c.OOMScoreAdj, c.HasUmask = -900, false // clamped where it may not be lowered
	c.Rlimits = nil
	if out := mustRun(t, c); !strings.HasSuffix(out, "0022\n644\n") {
		t.Errorf("output %q", out)
	}
	c.Rlimits = []initconf.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 1 << 40, Hard: 1 << 40}} // above fs.nr_open
	if e := failure(t, c); e.Step != "rlimit" || e.Path != "RLIMIT_NOFILE" || e.Errno != syscall.EPERM {
		t.Errorf("%+v", e)
	}
}

// TestOwnProgram: an entrypoint /proc/self/exe runs slipway-init itself, which refuses;
// and what it runs from cannot be written to (CVE-2019-5736).
func TestOwnProgram(t *testing.T) {
	balance(t)
	p, out := launch(t, config(rootfs(t), "/proc/self/exe"), newAll, static(t))
	ready(t, p)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if code, text := wait(t, p), out(); code != 2 || !strings.Contains(text, "not by hand") {
		t.Errorf("exit %d: %s", code, text)
	}
	p, _ = launch(t, config(rootfs(t), "true"), newAll, static(t))
	ready(t, p)
	for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR | unix.O_TRUNC} {
		if fd, err := unix.Open(fmt.Sprintf("/proc/%d/exe", p.Pid), flags, 0); err == nil {
			_, err = unix.Write(fd, []byte("x"))
			unix.Close(fd)
			if !errors.Is(err, unix.EPERM) {
				t.Errorf("written to init: %v", err)
			}
		}
	}
}
