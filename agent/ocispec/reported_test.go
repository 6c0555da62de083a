package ocispec

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/testing/protocmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestReported(t *testing.T) {
	num := func(v int64) *int64 { return &v }
	shares, period := uint64(3), uint64(4)
	was := &runtimeapi.LinuxContainerResources{
		CpuShares: 1, OomScoreAdj: 5, CpusetMems: "0", HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2MB", Limit: 1}},
	}
	set := &specs.LinuxResources{
		CPU:            &specs.LinuxCPU{Shares: &shares, Period: &period, Quota: num(6), Cpus: "1"},
		Memory:         &specs.LinuxMemory{Limit: num(7), Swap: num(7)},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 8}, {Pagesize: "1GB", Limit: 9}},
		Unified:        map[string]string{"memory.high": "1"},
	}
	want := &runtimeapi.LinuxContainerResources{
		CpuShares: 3, CpuPeriod: 4, CpuQuota: 6, CpusetCpus: "1", CpusetMems: "0", OomScoreAdj: 5, MemoryLimitInBytes: 7,
		HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2MB", Limit: 8}, {PageSize: "1GB", Limit: 9}},
		Unified:        map[string]string{"memory.high": "1"},
	}
	if d := cmp.Diff(want, Reported(was, set), protocmp.Transform()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if was.CpuShares != 1 || was.HugepageLimits[0].Limit != 1 {
		t.Errorf("the old report was changed: %v", was)
	}
	set.Memory.Swap = num(10)
	if got := Reported(nil, set).MemorySwapLimitInBytes; got != 10 {
		t.Errorf("swap %d", got)
	}
}
