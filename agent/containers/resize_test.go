package containers

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestComplete: pairs that the kernel takes together are completed by what the container has.
func TestComplete(t *testing.T) {
	type r = runtimeapi.LinuxContainerResources
	for name, tc := range map[string]struct{ cur, r, want *r }{
		"nothing":                           {&r{CpuQuota: 5}, nil, nil},
		"shares alone":                      {&r{CpuQuota: 5, CpuPeriod: 6}, &r{CpuShares: 7}, &r{CpuShares: 7}},
		"a quota":                           {&r{CpuQuota: 5, CpuPeriod: 6}, &r{CpuQuota: 7}, &r{CpuQuota: 7, CpuPeriod: 6}},
		"a period":                          {&r{CpuQuota: 5, CpuPeriod: 6}, &r{CpuPeriod: 7}, &r{CpuQuota: 5, CpuPeriod: 7}},
		"both":                              {&r{CpuQuota: 5, CpuPeriod: 6}, &r{CpuQuota: 1, CpuPeriod: 2}, &r{CpuQuota: 1, CpuPeriod: 2}},
		"a quota where there was none":      {nil, &r{CpuQuota: 7}, &r{CpuQuota: 7}},
		"swap":                              {&r{MemoryLimitInBytes: 5}, &r{MemorySwapLimitInBytes: 9}, &r{MemoryLimitInBytes: 5, MemorySwapLimitInBytes: 9}},
		"memory below the swap limit":       {&r{MemoryLimitInBytes: 5, MemorySwapLimitInBytes: 9}, &r{MemoryLimitInBytes: 7}, &r{MemoryLimitInBytes: 7, MemorySwapLimitInBytes: 9}},
		"memory above the swap limit":       {&r{MemoryLimitInBytes: 5, MemorySwapLimitInBytes: 9}, &r{MemoryLimitInBytes: 10}, &r{MemoryLimitInBytes: 10}},
		"memory where swap is without end":  {&r{MemorySwapLimitInBytes: -1}, &r{MemoryLimitInBytes: 10}, &r{MemoryLimitInBytes: 10, MemorySwapLimitInBytes: -1}},
		"memory where nobody spoke of swap": {&r{MemoryLimitInBytes: 5}, &r{MemoryLimitInBytes: 10}, &r{MemoryLimitInBytes: 10}},
	} {
		if got := complete(tc.cur, tc.r); !proto.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// TestUpdateIsOneStep: a record that cannot be written takes the change of the cgroup back.
func TestUpdateIsOneStep(t *testing.T) {
	f := newFixture(t)
	id := f.running(t, "c")
	before := f.get(t, id)
	f.failSave(1)
	if err := f.Update(t.Context(), id, &runtimeapi.LinuxContainerResources{CpuShares: 512}, nil); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("not recorded: %v", err)
	}
	f.k.mu.Lock()
	last := slices.Clone(f.k.log[len(f.k.log)-2:])
	f.k.mu.Unlock()
	if !slices.Equal(last, []string{"change", "undo change"}) {
		t.Errorf("operations %v", last)
	}
	if f.get(t, id) != before {
		t.Error("the container has changed")
	}
}

// TestUpdateScore: the score is clamped, goes to the processes that are there, and into the spec of execs to come.
func TestUpdateScore(t *testing.T) {
	f := newFixture(t)
	id := f.running(t, "c")
	f.o.Host.OOMScoreMin = -5
	r := &runtimeapi.LinuxContainerResources{OomScoreAdj: -900, MemoryLimitInBytes: 64 << 20}
	if err := f.Update(t.Context(), id, r, nil); err != nil {
		t.Fatal(err)
	}
	if f.k.score == nil || f.k.score.Adj != -5 || f.k.score.Pid != f.get(t, id).Pid {
		t.Errorf("score %v, want -5", f.k.score)
	}
	if m := f.k.changed.Memory; m == nil || m.CheckBeforeUpdate == nil || !*m.CheckBeforeUpdate {
		t.Errorf("memory %+v: a limit below what is used is to be refused", m)
	}
	spec, err := f.Spec(id)
	if err != nil || spec.Process.OOMScoreAdj == nil || *spec.Process.OOMScoreAdj != -5 {
		t.Errorf("spec %+v, %v", spec.Process, err)
	}
	if got := f.get(t, id).Config.GetLinux().GetResources(); !proto.Equal(got, r) {
		t.Errorf("reported %v, want %v", got, r)
	}
}
