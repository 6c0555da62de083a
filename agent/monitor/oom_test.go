package monitor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-cri/slipway/oci/initconf"
)

// memoryCgroup makes a cgroup of limit bytes and changes launches so that they run in it.
func memoryCgroup(t *testing.T, limit int) func(*LaunchRequest, *initconf.Config) {
	t.Helper()
	write := func(path, value string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	name := fmt.Sprintf("slipway-monitor-test-%d", os.Getpid())
	dir, v2 := filepath.Join("/sys/fs/cgroup", name), true
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		dir, v2 = filepath.Join("/sys/fs/cgroup/memory", name), false
	} else {
		write("/sys/fs/cgroup/cgroup.subtree_control", "+memory")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("needs a memory controller: %v", err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	if v2 {
		write(filepath.Join(dir, "memory.max"), fmt.Sprint(limit))
		if _, err := os.Stat(filepath.Join(dir, "memory.swap.max")); err == nil {
			write(filepath.Join(dir, "memory.swap.max"), "0")
		}
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return func(q *LaunchRequest, _ *initconf.Config) {
			q.Cgroup, q.OOMFile = f, filepath.Join(dir, "memory.events")
		}
	}
	write(filepath.Join(dir, "memory.limit_in_bytes"), fmt.Sprint(limit))
	return func(q *LaunchRequest, c *initconf.Config) {
		c.Cgroups = []string{filepath.Join(dir, "tasks")}
		q.OOMFile = filepath.Join(dir, "memory.oom_control")
	}
}

func TestOOMKilled(t *testing.T) {
	if swap, _ := os.ReadFile("/proc/swaps"); strings.Count(string(swap), "\n") > 1 {
		t.Skip("needs a machine without swap: the limit is on memory alone")
	}
	const eat = "x=0123456789abcdef; while :; do x=$x$x; done"
	n := newNode(t)
	in := memoryCgroup(t, 32<<20)
	t.Cleanup(func() { // before the cgroup goes
		for id := range n.exits {
			_ = n.client.Forget(n.ctx, id)
		}
	})
	for _, c := range []struct {
		id, script string
		code       int
		oom        bool
	}{
		{"main", "echo before; " + eat, 137, true},
		{"worker", "(" + eat + "); exit 3", 3, true},
		{"other", "kill -9 $$; exit 4", 4, false}, // PID 1 is immune to its own signals
		{"well", "exit 0", 0, false},
	} {
		n.create(c.id, c.script, in)
		n.start(c.id)
		if e := n.exit(c.id); e.Code != c.code || e.OOMKilled != c.oom {
			t.Errorf("%s: %+v", c.id, e)
		}
	}
	n.create("killed", "exec busybox sleep 1000", in)
	n.start("killed")
	if err := n.client.Signal(n.ctx, "killed", 9); err != nil {
		t.Fatal(err)
	}
	if e := n.exit("killed"); e.Code != 137 || e.OOMKilled {
		t.Errorf("killed by hand: %+v", e)
	}
}
