package validate

import (
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// resources: 0 is "not specified" throughout, and -1 "no limit" where the kernel knows that.
func (c *checker) resources(f string, r *runtimeapi.LinuxContainerResources) {
	if r == nil {
		return
	}
	c.atLeast(f+".cpu_period", r.GetCpuPeriod(), 0)
	c.atLeast(f+".cpu_quota", r.GetCpuQuota(), -1)
	c.atLeast(f+".cpu_shares", r.GetCpuShares(), 0)
	c.atLeast(f+".memory_limit_in_bytes", r.GetMemoryLimitInBytes(), -1)
	c.between(f+".oom_score_adj", r.GetOomScoreAdj(), -1000, 1000)
	c.cpuset(f+".cpuset_cpus", r.GetCpusetCpus())
	c.cpuset(f+".cpuset_mems", r.GetCpusetMems())
	c.atLeast(f+".memory_swap_limit_in_bytes", r.GetMemorySwapLimitInBytes(), -1)
	if s := r.GetMemorySwapLimitInBytes(); s > 0 && s < r.GetMemoryLimitInBytes() {
		c.fail(f+".memory_swap_limit_in_bytes", "below memory_limit_in_bytes, which it includes")
	}
	for i, h := range r.GetHugepageLimits() {
		c.pageSize(at(f+".hugepage_limits", i)+".page_size", h.GetPageSize())
	}
	for k, v := range r.GetUnified() {
		c.unified(key(f+".unified", k), k, v)
	}
}

// unified: the key is a file of the container's cgroup ("memory.high"), the value one line.
// cgroup.* would move or freeze processes behind the agent's back.
func (c *checker) unified(f, k, v string) {
	controller, file, ok := strings.Cut(k, ".")
	bad := func(r rune) bool { return !isWord(r) && r != '.' }
	if !ok || controller == "" || file == "" || len(k) > maxName || strings.IndexFunc(k, bad) >= 0 {
		c.fail(f, "no cgroup file's name")
	}
	if controller == "cgroup" {
		c.fail(f, "cgroup.* belongs to the agent")
	}
	c.text(f, v, maxLabelValue)
}

// podResources: a pod's cgroup holds no process of its own to give an oom_score_adj.
func (c *checker) podResources(f string, r *runtimeapi.LinuxContainerResources) {
	c.resources(f, r)
	if r.GetOomScoreAdj() != 0 {
		c.fail(f+".oom_score_adj", "is a process's, and a pod's cgroup has none: set it for its containers")
	}
}

// windows: this runtime runs on Linux, and what asks for something else must not get half of it.
func (c *checker) windows(f string, there bool) {
	if there {
		c.fail(f, "this node runs Linux")
	}
}

// overhead is what a pod uses beside its containers: amounts, which go on top of its limits. What is
// no amount has nothing that it could go on top of.
func (c *checker) overhead(f string, r *runtimeapi.LinuxContainerResources) {
	c.podResources(f, r)
	for _, field := range []struct {
		name string
		set  bool
	}{
		{".cpuset_cpus", r.GetCpusetCpus() != ""}, {".cpuset_mems", r.GetCpusetMems() != ""}, {".unified", len(r.GetUnified()) > 0},
	} {
		if field.set {
			c.fail(f+field.name, "is no amount, and so no overhead")
		}
	}
}
