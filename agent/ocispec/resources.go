package ocispec

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Bounds of the kernel's CFS bandwidth in microseconds and of cpu.shares (sched-bwc,
// kernel/sched/core.c).
const (
	minCFS, maxCFS       = 1000, 1000_000
	minShares, maxShares = 2, 262144
)

func (b *builder) resources() error {
	r := b.in.Config.GetLinux().GetResources()
	limits, err := Resources(r, b.in.Host)
	if err != nil {
		return err
	}
	limits.Devices = b.spec.Linux.Resources.Devices
	b.spec.Linux.Resources = limits
	adj := r.GetOomScoreAdj()
	if adj < -1000 || adj > 1000 {
		return invalid("linux.resources.oom_score_adj", "%d is not in -1000 to 1000", adj)
	}
	// The kubelet asks for -997 and -998; without CAP_SYS_RESOURCE the pod is to run all the same.
	clamped := max(int(adj), b.in.Host.OOMScoreMin)
	b.spec.Process.OOMScoreAdj = &clamped
	return nil
}

// Resources maps a request's limits, nil and zero meaning "not specified". Devices and
// oom_score_adj are not in the result. Errors wrap lifecycle.ErrInvalid (or ErrUnsupported: unified
// without cgroup v2).
func Resources(r *runtimeapi.LinuxContainerResources, h Host) (*specs.LinuxResources, error) {
	out := &specs.LinuxResources{}
	if r == nil {
		return out, nil
	}
	var err error
	if out.CPU, err = cpu(r); err != nil {
		return nil, err
	}
	if out.Memory, err = memory(r, h.Swap); err != nil {
		return nil, err
	}
	if out.HugepageLimits, err = hugepages(r.GetHugepageLimits()); err != nil {
		return nil, err
	}
	if out.Unified, err = unified(r.GetUnified(), h.CgroupV2); err != nil {
		return nil, err
	}
	return out, nil
}

func cpu(r *runtimeapi.LinuxContainerResources) (*specs.LinuxCPU, error) {
	const field = "linux.resources."
	period, quota, shares := r.GetCpuPeriod(), r.GetCpuQuota(), r.GetCpuShares()
	switch {
	case period != 0 && (period < minCFS || period > maxCFS):
		return nil, invalid(field+"cpu_period", "%d is not in %d to %d", period, minCFS, maxCFS)
	case quota < -1, quota > 0 && quota < minCFS:
		return nil, invalid(field+"cpu_quota", "%d is neither -1 nor at least %d", quota, minCFS)
	case shares < 0:
		return nil, invalid(field+"cpu_shares", "%d is negative", shares)
	case !isCPUList(r.GetCpusetCpus()):
		return nil, invalid(field+"cpuset_cpus", "%q is no list of numbers and ranges", r.GetCpusetCpus())
	case !isCPUList(r.GetCpusetMems()):
		return nil, invalid(field+"cpuset_mems", "%q is no list of numbers and ranges", r.GetCpusetMems())
	}
	c := specs.LinuxCPU{Cpus: r.GetCpusetCpus(), Mems: r.GetCpusetMems()}
	if period != 0 {
		p := uint64(period)
		c.Period = &p
	}
	if quota != 0 {
		c.Quota = &quota
	}
	if shares != 0 {
		s := uint64(min(max(shares, minShares), maxShares))
		c.Shares = &s
	}
	if c == (specs.LinuxCPU{}) {
		return nil, nil
	}
	return &c, nil
}

// isCPUList takes cpuset(7)'s list format: "0-2,7"; the empty string is no list but allowed.
func isCPUList(s string) bool {
	if s == "" {
		return true
	}
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return false
		}
		if last, err := strconv.ParseUint(to, 10, 16); isRange && (err != nil || last < first) {
			return false
		}
	}
	return true
}

// memory sets the limit and, where swap is accounted, the limit of memory and swap together.
// Without one of the request's own that is the memory limit: no swap, as in containerd and CRI-O.
func memory(r *runtimeapi.LinuxContainerResources, swapAccounted bool) (*specs.LinuxMemory, error) {
	limit, swap := r.GetMemoryLimitInBytes(), r.GetMemorySwapLimitInBytes()
	switch {
	case limit < -1:
		return nil, invalid("linux.resources.memory_limit_in_bytes", "%d is negative", limit)
	case swap < -1:
		return nil, invalid("linux.resources.memory_swap_limit_in_bytes", "%d is negative", swap)
	case swap > 0 && (limit <= 0 || swap < limit):
		return nil, invalid("linux.resources.memory_swap_limit_in_bytes",
			"%d includes memory and so must be at least memory_limit_in_bytes, %d", swap, limit)
	case limit == 0 && swap == 0:
		return nil, nil
	}
	m := &specs.LinuxMemory{}
	if limit != 0 {
		m.Limit = &limit
	}
	if swap == 0 {
		swap = limit
	}
	if swapAccounted {
		m.Swap = &swap
	}
	return m, nil
}

func hugepages(limits []*runtimeapi.HugepageLimit) ([]specs.LinuxHugepageLimit, error) {
	const field = "linux.resources.hugepage_limits"
	var list []specs.LinuxHugepageLimit
	for _, l := range limits {
		size := l.GetPageSize()
		number := strings.TrimRight(size, "KMGB")
		if !isDigits(number) || !slices.Contains([]string{"KB", "MB", "GB"}, strings.TrimPrefix(size, number)) {
			return nil, invalid(field, "page_size %q is not like 2MB", size)
		}
		if slices.ContainsFunc(list, func(h specs.LinuxHugepageLimit) bool { return h.Pagesize == size }) {
			return nil, invalid(field, "page_size %s is there twice", size)
		}
		list = append(list, specs.LinuxHugepageLimit{Pagesize: size, Limit: l.GetLimit()})
	}
	return list, nil
}

// unified takes files of controllers, in the cgroup itself; "cgroup.*" are the runtime's.
func unified(u map[string]string, v2 bool) (map[string]string, error) {
	const field = "linux.resources.unified"
	if len(u) == 0 {
		return nil, nil
	}
	if !v2 {
		return nil, unsupported(field, "needs cgroup v2")
	}
	for _, k := range slices.Sorted(maps.Keys(u)) {
		controller, _, ok := strings.Cut(k, ".")
		if !ok || controller == "" || controller == "cgroup" || strings.ContainsAny(k, "/\x00\n") {
			return nil, invalid(field, "%q is no file of a controller", k)
		}
	}
	return maps.Clone(u), nil
}

// PodResources are the limits of the pod's own cgroup: what the kubelet says its containers may use in
// sum, and the overhead on top where there is a limit at all. nil where the request has none. The
// overhead is amounts alone: what is no amount cannot be on top of anything, and is refused.
func PodResources(cfg *runtimeapi.PodSandboxConfig, h Host) (*specs.LinuxResources, error) {
	r, o := cfg.GetLinux().GetResources(), cfg.GetLinux().GetOverhead()
	if r == nil {
		return nil, nil
	}
	sum := &runtimeapi.LinuxContainerResources{
		CpuPeriod: r.GetCpuPeriod(), CpusetCpus: r.GetCpusetCpus(), CpusetMems: r.GetCpusetMems(), Unified: r.GetUnified(),
	}
	swap := o.GetMemorySwapLimitInBytes() // it includes memory
	if swap == 0 {
		swap = o.GetMemoryLimitInBytes()
	}
	var err error
	for _, f := range []struct {
		name string
		dst  *int64
		a, b int64
	}{
		{"cpu_quota", &sum.CpuQuota, r.GetCpuQuota(), o.GetCpuQuota()},
		{"cpu_shares", &sum.CpuShares, r.GetCpuShares(), o.GetCpuShares()},
		{"memory_limit_in_bytes", &sum.MemoryLimitInBytes, r.GetMemoryLimitInBytes(), o.GetMemoryLimitInBytes()},
		{"memory_swap_limit_in_bytes", &sum.MemorySwapLimitInBytes, r.GetMemorySwapLimitInBytes(), swap},
	} {
		if *f.dst, err = plus(f.a, f.b); err != nil {
			return nil, invalid("linux.overhead."+f.name, "%d and %d: %v", f.a, f.b, err)
		}
	}
	if r.GetCpuPeriod() != 0 && o.GetCpuPeriod() != 0 && r.GetCpuPeriod() != o.GetCpuPeriod() {
		return nil, invalid("linux.overhead.cpu_period", "%d is not the pod's, %d", o.GetCpuPeriod(), r.GetCpuPeriod())
	}
	if sum.HugepageLimits, err = addHugepages(r.GetHugepageLimits(), o.GetHugepageLimits()); err != nil {
		return nil, err
	}
	// Without a word about swap the pod's limit leaves it to those of its containers.
	h.Swap = h.Swap && sum.MemorySwapLimitInBytes != 0
	out, err := Resources(sum, h)
	if err != nil || out.CPU == nil && out.Memory == nil && out.HugepageLimits == nil && out.Unified == nil {
		return nil, err
	}
	return out, nil
}

// addHugepages adds the overhead's pages to limits of the same size; no limit stays none.
func addHugepages(limits, overhead []*runtimeapi.HugepageLimit) ([]*runtimeapi.HugepageLimit, error) {
	var sum []*runtimeapi.HugepageLimit
	for _, l := range limits {
		total := l.GetLimit()
		for _, o := range overhead {
			if o.GetPageSize() != l.GetPageSize() {
				continue
			}
			if o.GetLimit() > math.MaxUint64-total {
				return nil, invalid("linux.overhead.hugepage_limits", "%d and %d: %v", total, o.GetLimit(), strconv.ErrRange)
			}
			total += o.GetLimit()
		}
		sum = append(sum, &runtimeapi.HugepageLimit{PageSize: l.GetPageSize(), Limit: total})
	}
	return sum, nil
}

// plus adds an overhead to a limit; no limit (0, -1) stays none.
func plus(limit, overhead int64) (int64, error) {
	if limit <= 0 {
		return limit, nil
	}
	if overhead < 0 || overhead > math.MaxInt64-limit {
		return 0, strconv.ErrRange
	}
	return limit + overhead, nil
}
