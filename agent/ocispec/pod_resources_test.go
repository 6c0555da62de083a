package ocispec

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Every field of a pod's limits is in its cgroup's, with the overhead on top of amounts.
func TestPodResourcesWhole(t *testing.T) {
	huge := func(n uint64) []*runtimeapi.HugepageLimit {
		return []*runtimeapi.HugepageLimit{{PageSize: "2MB", Limit: n}}
	}
	cfg := &runtimeapi.PodSandboxConfig{Linux: &runtimeapi.LinuxPodSandboxConfig{
		Resources: &runtimeapi.LinuxContainerResources{
			MemoryLimitInBytes: 100, MemorySwapLimitInBytes: 300, CpusetCpus: "0-1", CpusetMems: "0",
			HugepageLimits: huge(4 << 20), Unified: map[string]string{"memory.high": "90"},
		},
		Overhead: &runtimeapi.LinuxContainerResources{
			MemoryLimitInBytes: 10, HugepageLimits: append(huge(2<<20), &runtimeapi.HugepageLimit{PageSize: "1GB", Limit: 1 << 30}),
		},
	}}
	got, err := PodResources(cfg, Host{Swap: true, CgroupV2: true})
	if err != nil {
		t.Fatal(err)
	}
	limit, swap := int64(110), int64(310)
	want := &specs.LinuxResources{
		CPU: &specs.LinuxCPU{Cpus: "0-1", Mems: "0"}, Memory: &specs.LinuxMemory{Limit: &limit, Swap: &swap},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 6 << 20}}, Unified: map[string]string{"memory.high": "90"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := PodResources(cfg, Host{}); !errors.Is(err, lifecycle.ErrUnsupported) {
		t.Errorf("unified without cgroup v2: %v", err)
	}
	cfg.Linux.Resources.Unified = nil
	cfg.Linux.Resources.MemorySwapLimitInBytes = 0
	if got, err := PodResources(cfg, Host{Swap: true}); err != nil || got.Memory.Swap != nil {
		t.Errorf("no word about swap: %+v %v", got, err)
	}
	cfg.Linux.Overhead.HugepageLimits = huge(1<<64 - 1)
	if _, err := PodResources(cfg, Host{}); !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("overflow: %v", err)
	}
}
