package ocispec

import (
	"maps"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Reported is what a status says of limits: was, which stays as it is, with those that set has. Swap is reported
// where a request named it, or it is not simply the memory limit. What CRI has no field for is left out.
func Reported(was *runtimeapi.LinuxContainerResources, set *specs.LinuxResources) *runtimeapi.LinuxContainerResources {
	out := &runtimeapi.LinuxContainerResources{}
	if was != nil {
		out = proto.CloneOf(was)
	}
	if set == nil {
		return out
	}
	if c := set.CPU; c != nil {
		if c.Period != nil {
			out.CpuPeriod = int64(*c.Period)
		}
		if c.Quota != nil {
			out.CpuQuota = *c.Quota
		}
		if c.Shares != nil {
			out.CpuShares = int64(*c.Shares)
		}
		if c.Cpus != "" {
			out.CpusetCpus = c.Cpus
		}
		if c.Mems != "" {
			out.CpusetMems = c.Mems
		}
	}
	if m := set.Memory; m != nil {
		if m.Limit != nil {
			out.MemoryLimitInBytes = *m.Limit
		}
		if m.Swap != nil && (out.MemorySwapLimitInBytes != 0 || *m.Swap != out.MemoryLimitInBytes) {
			out.MemorySwapLimitInBytes = *m.Swap
		}
	}
	for _, h := range set.HugepageLimits {
		at := slices.IndexFunc(out.HugepageLimits, func(l *runtimeapi.HugepageLimit) bool { return l.GetPageSize() == h.Pagesize })
		if at < 0 {
			out.HugepageLimits = append(out.HugepageLimits, &runtimeapi.HugepageLimit{PageSize: h.Pagesize, Limit: h.Limit})
			continue
		}
		out.HugepageLimits[at].Limit = h.Limit
	}
	if len(set.Unified) > 0 {
		if out.Unified == nil {
			out.Unified = map[string]string{}
		}
		maps.Copy(out.Unified, set.Unified)
	}
	return out
}
