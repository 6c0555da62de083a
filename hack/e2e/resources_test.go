package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// cgroup is the directory that limits the container by the controller, and whether it is version 2
// (cgroups(7): /proc/PID/cgroup has a line "ID:controllers:path" each hierarchy).
func (c *container) cgroup(controller string) (dir string, v2 bool) {
	c.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.pid()))
	if err != nil {
		c.t.Fatal(err)
	}
	unified := ""
	for _, l := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		f := strings.SplitN(l, ":", 3)
		for _, name := range strings.Split(f[1], ",") {
			if name == controller {
				return filepath.Join("/sys/fs/cgroup", controller, f[2]), false
			}
		}
		if f[0] == "0" {
			unified = f[2]
		}
	}
	return filepath.Join("/sys/fs/cgroup", unified), true
}

// limit reads the file that holds a limit in either version.
func (c *container) limit(controller, v1, v2 string) string {
	c.t.Helper()
	dir, unified := c.cgroup(controller)
	name := v1
	if unified {
		name = v2
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func (c *container) quota() string {
	c.t.Helper()
	v := c.limit("cpu", "cpu.cfs_quota_us", "cpu.max")
	return strings.TrimSuffix(v, " 100000") // version 2 has the period behind it
}

func limits(r *runtimeapi.LinuxContainerResources) func(*containerConfig) {
	return func(c *containerConfig) { c.Linux.Resources = r }
}

func TestOutOfMemory(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("oom", nil)
	r := &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 16 << 20}
	hog := []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1"}
	if s := p.run("main", hog, limits(r)).exit(); s.ExitCode != 137 || s.Reason != "OOMKilled" {
		t.Errorf("the container's program ended with %d, %s", s.ExitCode, s.Reason)
	}
	c := p.run("child", append([]string{"sh", "-c", `"$@"; echo $?; exit 5`, "sh"}, hog...), limits(r))
	if s := c.exit(); s.ExitCode != 5 {
		t.Errorf("after a child's death: %d, %s", s.ExitCode, s.Reason)
	}
	if got := c.output(); !strings.Contains(got, "137\n") {
		t.Errorf("the child ended with %q", got)
	}
	if s := p.run("killed", []string{"sh", "-c", "kill -9 $$"}, limits(r)).exit(); s.Reason == "OOMKilled" {
		t.Errorf("killed by itself: %d, %s", s.ExitCode, s.Reason)
	}
}

func TestLimitsAndUpdate(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("limits", nil)
	c := p.run("c", forever, limits(&runtimeapi.LinuxContainerResources{
		CpuPeriod: 100000, CpuQuota: 20000, CpuShares: 512, MemoryLimitInBytes: 32 << 20,
	}))
	check := func(quota, memory string) {
		t.Helper()
		if got := c.quota(); got != quota {
			t.Errorf("cpu quota %s, want %s", got, quota)
		}
		if got := c.limit("memory", "memory.limit_in_bytes", "memory.max"); got != memory {
			t.Errorf("memory limit %s, want %s", got, memory)
		}
	}
	check("20000", fmt.Sprint(32<<20))
	if got := c.limit("pids", "pids.current", "pids.current"); got != "1" {
		t.Errorf("pids in the container's cgroup: %s", got)
	}
	update := &runtimeapi.LinuxContainerResources{CpuPeriod: 100000, CpuQuota: 30000, MemoryLimitInBytes: 64 << 20}
	_, err := n.runtime.UpdateContainerResources(n.ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: c.id, Linux: update})
	if err != nil {
		t.Fatalf("UpdateContainerResources: %v", err)
	}
	check("30000", fmt.Sprint(64<<20))
	got := c.status().Resources.GetLinux()
	if got.GetCpuQuota() != 30000 || got.GetMemoryLimitInBytes() != 64<<20 || got.GetCpuShares() != 512 {
		t.Errorf("status reports %v", got)
	}
	if dir, v2 := c.cgroup("pids"); !v2 {
		t.Logf("pids.max is not set: %s is of cgroup v1, where CRI has no word for it", dir)
		return
	}
	u := p.run("unified", forever, limits(&runtimeapi.LinuxContainerResources{Unified: map[string]string{"pids.max": "77"}}))
	if got := u.limit("pids", "", "pids.max"); got != "77" {
		t.Errorf("pids.max is %s", got)
	}
}

func TestOOMScore(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("score", nil)
	least := "-998"
	if !mayLowerScore(t) {
		own, err := os.ReadFile("/proc/self/oom_score_adj")
		if err != nil {
			t.Fatal(err)
		}
		least = strings.TrimSpace(string(own)) // CAP_SYS_RESOURCE is not held, so no lower one may be set (proc(5))
	}
	for adj, want := range map[int64]string{500: "500", -998: least} {
		c := p.run(fmt.Sprintf("c%d", adj), forever, limits(&runtimeapi.LinuxContainerResources{OomScoreAdj: adj}))
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", c.pid()))
		if err != nil || strings.TrimSpace(string(data)) != want {
			t.Errorf("oom_score_adj is %s, %v, want %s", data, err, want)
		}
	}
}

func mayLowerScore(t *testing.T) bool {
	t.Helper()
	var eff uint64
	if _, err := fmt.Sscanf(ownStatus(t, "CapEff"), "%x", &eff); err != nil {
		t.Fatal(err)
	}
	return eff&(1<<unix.CAP_SYS_RESOURCE) != 0
}
