package cgroups

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	ocgroups "github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/kerneltest"
)

var serial atomic.Int32

// name is a top cgroup of this test alone, and its books.
func name(t testing.TB) string {
	kerneltest.NeedRoot(t)
	// The library keeps one descriptor of /sys/fs/cgroup for good: before the books are taken.
	if _, err := ocgroups.ReadFile("/sys/fs/cgroup", "none"); err == nil {
		t.Fatal("/sys/fs/cgroup/none exists")
	}
	n := fmt.Sprintf("slipwaytest-cg-%d-%d", os.Getpid(), serial.Add(1))
	kerneltest.Balance(t, kerneltest.Scope{Name: n})
	return "/" + n
}

func destroy(t testing.TB, c *Cgroup) {
	t.Helper()
	if err := c.Destroy(context.Background()); err != nil {
		t.Error(err)
	}
	c.RemoveParents("")
}

func criResources() *specs.LinuxResources {
	return &specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Shares: ptr(uint64(512)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000))},
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(64 << 20))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(100))},
		Devices: []specs.LinuxDeviceCgroup{
			{Allow: false, Access: "rwm"},
		},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB"}},
	}
}

// sleeper starts a process in the cgroup: born there on v2, moved on v1, where only
// init's own code can enter without being moved.
func sleeper(t *testing.T, c *Cgroup) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	dir, err := c.OpenDir()
	if err != nil {
		t.Fatal(err)
	}
	if dir != nil {
		defer dir.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range c.TasksFiles() {
		if err := os.WriteFile(f, []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
			t.Error(err)
		}
	}
	return cmd
}

func TestLifeOfACgroup(t *testing.T) {
	top := name(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := Create(top+"/pod/c", criResources())
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if !c.Exists() {
		t.Error("not there after Create")
	}
	assertLimits(t, c, "50000", "67108864", "100")

	a, b := sleeper(t, c), sleeper(t, c)
	pids, err := c.Pids()
	if want := []int{a.Process.Pid, b.Process.Pid}; err != nil || !slices.Equal(pids, want) {
		t.Errorf("Pids = %v, %v; want %v", pids, err, want)
	}
	u, err := c.Usage()
	if err != nil || u.Pids != 2 || u.MemoryLimit == nil || *u.MemoryLimit != 64<<20 {
		t.Errorf("Usage = %+v, %v", u, err)
	}
	if err := c.Update(&specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Quota: ptr(int64(20000)), Period: ptr(uint64(100000))},
		Memory: &specs.LinuxMemory{Limit: ptr(int64(128 << 20)), Swap: ptr(int64(128 << 20))},
	}); err != nil {
		t.Error(err)
	}
	assertLimits(t, c, "20000", "134217728", "100")

	if err := c.Freeze(ctx); err != nil {
		t.Error(err)
	}
	if f, err := c.frozen(); !f || err != nil {
		t.Errorf("frozen = %v, %v after Freeze", f, err)
	}
	// Frozen processes must die all the same, before Destroy can succeed.
	if err := c.KillAll(ctx); err != nil {
		t.Error(err)
	}
	for _, cmd := range []*exec.Cmd{a, b} {
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("sleeper ended with %v, want SIGKILL", err)
		}
	}
	if err := c.Destroy(ctx); err != nil || c.Exists() {
		t.Errorf("Destroy: %v, exists %v", err, c.Exists())
	}
	if err := c.KillAll(ctx); err != nil {
		t.Errorf("KillAll of what is gone: %v", err)
	}
	if _, err := c.Usage(); !Gone(err) {
		t.Errorf("Usage of what is gone: %v", err)
	}
}

func assertLimits(t *testing.T, c *Cgroup, quota, memory, pids string) {
	t.Helper()
	files := map[string]string{"cpu.cfs_quota_us": quota, "memory.limit_in_bytes": memory, "pids.max": pids}
	if c.t.mode == V2 {
		files = map[string]string{"cpu.max": quota + " 100000", "memory.max": memory, "pids.max": pids}
	}
	for f, want := range files {
		controller, _, _ := strings.Cut(f, ".")
		if got, err := readString(c.dir(controller), f); got != want || err != nil {
			t.Errorf("%s = %q, %v; want %q", f, got, err, want)
		}
	}
}

func TestDestroyKillsNothing(t *testing.T) {
	top := name(t)
	ctx := context.Background()
	c, err := Create(top, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	cmd := sleeper(t, c)
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := c.Destroy(short); !errors.Is(err, unix.EBUSY) {
		t.Errorf("Destroy with a process in it: %v, want EBUSY", err)
	}
	if err := unix.Kill(cmd.Process.Pid, 0); err != nil {
		t.Errorf("the process: %v", err)
	}
}

func TestChildrenGoToo(t *testing.T) {
	top := name(t)
	c, err := Create(top, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range c.mounts() {
		if err := os.MkdirAll(m+top+"/inner/deep", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // repeatable
		if err := c.Destroy(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	top := name(t) // its balance is the assertion
	bad := map[string]*specs.LinuxResources{
		"cpuset":  {CPU: &specs.LinuxCPU{Cpus: "4000"}},
		"unified": {Unified: map[string]string{"nosuch.file": "1"}},
		"device":  {Devices: []specs.LinuxDeviceCgroup{{Type: "q"}}},
	}
	for what, r := range bad {
		if _, err := Create(top+"/a/b", r); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestDeviceRules(t *testing.T) {
	c, err := Create(name(t), criResources())
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if c.t.mode == V2 {
		t.Skip("v2 has no list to read; that access is refused is tested with a container")
	}
	list, err := readString(c.dir("devices"), "devices.list")
	if err != nil || strings.Contains(list, "a *:*") || !strings.Contains(list, "c 1:3 rwm") || !strings.Contains(list, "c *:* m") {
		t.Errorf("devices.list = %q, %v", list, err)
	}
}

func TestEnsureAndParents(t *testing.T) {
	top := name(t)
	first, made, err := Ensure(top+"/shared/one", nil)
	if err != nil || !made {
		t.Fatalf("Ensure: made %v, %v", made, err)
	}
	if _, made, err = Ensure(top+"/shared/one", criResources()); err != nil || made {
		t.Errorf("Ensure again: made %v, %v", made, err)
	}
	second, err := Create(top+"/shared/two", nil)
	if err != nil {
		t.Fatal(err)
	}
	shared, _ := Open(top + "/shared")
	if err := first.Destroy(context.Background()); err != nil {
		t.Fatal(err)
	}
	first.RemoveParents("")
	if !shared.Exists() || !second.Exists() {
		t.Error("the parent of another cgroup went with the first")
	}
	if err := second.Destroy(context.Background()); err != nil {
		t.Fatal(err)
	}
	second.RemoveParents(top)
	above, _ := Open(top)
	if shared.Exists() || !above.Exists() {
		t.Errorf("shared exists %v, the kept one %v", shared.Exists(), above.Exists())
	}
	second.RemoveParents("")
}

func TestParentOfAnotherIsKept(t *testing.T) {
	top := name(t)
	c, _ := Open(top)
	for _, m := range c.mounts() { // made by someone else: not marked
		if err := os.Mkdir(m+top, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	child, err := Create(top+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	destroy(t, child)
	if !c.Exists() {
		t.Error("removed a parent that it had not made")
	}
	if err := c.Destroy(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestCreateRace makes and removes siblings whose parent comes and goes.
func TestCreateRace(t *testing.T) {
	top := name(t)
	errs := make(chan error)
	for g := range 4 {
		go func() {
			for i := range 25 {
				c, err := Create(fmt.Sprintf("%s/p/%d-%d", top, g, i), nil)
				if err == nil {
					err = c.Destroy(context.Background())
					c.RemoveParents("")
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkCreateDestroy(b *testing.B) {
	top := name(b)
	pod, err := Create(top+"/pod", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer destroy(b, pod)
	r := criResources()
	var create, destroyed time.Duration
	for i := 0; b.Loop(); i++ {
		t0 := time.Now()
		c, err := Create(fmt.Sprintf("%s/pod/%d", top, i), r)
		if err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		if err := c.Destroy(context.Background()); err != nil {
			b.Fatal(err)
		}
		create, destroyed = create+t1.Sub(t0), destroyed+time.Since(t1)
	}
	b.ReportMetric(float64(create.Microseconds())/float64(b.N), "µs-create")
	b.ReportMetric(float64(destroyed.Microseconds())/float64(b.N), "µs-destroy")
}

func BenchmarkUsage(b *testing.B) {
	c, err := Create(name(b), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer destroy(b, c)
	for b.Loop() {
		if _, err := c.Usage(); err != nil {
			b.Fatal(err)
		}
	}
}
