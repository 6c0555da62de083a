package containers

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// TestUpdated: zero fields stay, maps merge by key, and hugepage limits by page size.
func TestUpdated(t *testing.T) {
	old := config("c")
	old.Annotations = map[string]string{"a": "1", "b": "2"}
	old.Linux.Resources = &runtimeapi.LinuxContainerResources{
		CpuShares: 100, CpuQuota: 5000, MemoryLimitInBytes: 1 << 20,
		HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2MB", Limit: 1}, {PageSize: "1GB", Limit: 2}},
		Unified:        map[string]string{"memory.high": "1", "memory.low": "2"},
	}
	before := proto.CloneOf(old)
	got := updated(old, &runtimeapi.LinuxContainerResources{
		CpuShares:      200,
		HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "1GB", Limit: 0}, {PageSize: "64KB", Limit: 3}},
		Unified:        map[string]string{"memory.low": "3"},
	}, map[string]string{"b": "3", "c": "4"})
	want := proto.CloneOf(before)
	want.Annotations = map[string]string{"a": "1", "b": "3", "c": "4"}
	want.Linux.Resources.CpuShares = 200
	want.Linux.Resources.HugepageLimits = []*runtimeapi.HugepageLimit{
		{PageSize: "2MB", Limit: 1}, {PageSize: "1GB", Limit: 0}, {PageSize: "64KB", Limit: 3},
	}
	want.Linux.Resources.Unified["memory.low"] = "3"
	if !proto.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	if !proto.Equal(old, before) {
		t.Errorf("a snapshot's configuration was changed: %v", old)
	}
	if again := updated(got, want.Linux.Resources, nil); !proto.Equal(again, want) {
		t.Errorf("the same once more: %v", again)
	}
	if bare := updated(&runtimeapi.ContainerConfig{}, nil, nil); bare.GetLinux().GetResources() == nil {
		t.Errorf("nothing in nothing: %v", bare)
	}
}

func TestUpdate(t *testing.T) {
	f := newFixture(t)
	id := f.running(t, "c")
	limits := &runtimeapi.LinuxContainerResources{CpuShares: 512}
	f.k.mu.Lock()
	f.k.fail = f.k.n + 1
	f.k.mu.Unlock()
	before := f.get(t, id)
	if err := f.Update(t.Context(), id, limits, nil); !errors.Is(err, errBoom) || f.get(t, id) != before {
		t.Errorf("the kernel refuses: %v, %v", err, f.get(t, id).Config)
	}
	if err := f.Update(t.Context(), id, &runtimeapi.LinuxContainerResources{CpuShares: -1}, nil); !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("a negative share: %v", err)
	}
	if err := f.Update(t.Context(), id, limits, map[string]string{"a": "b"}); err != nil {
		t.Fatal(err)
	}
	f.restart("boot-1")
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	if c := f.get(t, id).Config; c.GetLinux().GetResources().GetCpuShares() != 512 || c.GetAnnotations()["a"] != "b" {
		t.Errorf("after a restart: %v", c)
	}
	if err := f.Stop(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Update(t.Context(), id, limits, nil); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("exited: %v", err)
	}
}
