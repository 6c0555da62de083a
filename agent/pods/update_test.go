package pods

import (
	"errors"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func memory(n int64) *runtimeapi.LinuxContainerResources {
	return &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: n}
}

// updating runs a pod and forgets the operations of that.
func updating(t *testing.T, parent string) (*fixture, string) {
	t.Helper()
	f := newFixture(t)
	cfg := config("web")
	cfg.Linux.CgroupParent = parent
	cfg.Linux.Resources, cfg.Linux.Overhead = memory(100<<20), memory(1<<20)
	id, err := f.Run(t.Context(), cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	f.k.log = nil
	return f, id
}

func TestUpdate(t *testing.T) {
	f, id := updating(t, "")
	before, err := f.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Update(t.Context(), id[:12], nil, memory(200<<20)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.k.log, ", "); got != "change pod memory=210763776" { // 200 MiB and the overhead's 1
		t.Errorf("operations: %s", got)
	}
	f.restart("boot-1")
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	v, err := f.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	if l := v.Config.GetLinux(); l.GetResources().GetMemoryLimitInBytes() != 200<<20 || l.GetOverhead().GetMemoryLimitInBytes() != 1<<20 {
		t.Errorf("after a restart: %v", l)
	}
	if before.Config.GetLinux().GetResources().GetMemoryLimitInBytes() != 100<<20 {
		t.Error("a snapshot has changed")
	}
	f.k.has = map[string]bool{}
	if err := f.Stop(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := f.Update(t.Context(), id, nil, memory(1<<20)); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("a stopped pod: %v", err)
	}
	if err := f.Update(t.Context(), "none", nil, nil); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("an unknown pod: %v", err)
	}
}

// TestUpdateOfKubelets: the cgroup is the kubelet's to change; the agent takes the change down.
func TestUpdateOfKubelets(t *testing.T) {
	f, id := updating(t, "/kubepods/podx")
	if err := f.Update(t.Context(), id, memory(2<<20), memory(200<<20)); err != nil {
		t.Fatal(err)
	}
	if len(f.k.log) != 0 {
		t.Errorf("operations: %v", f.k.log)
	}
	v, err := f.Get(id)
	if err != nil || v.Config.Linux.Overhead.MemoryLimitInBytes != 2<<20 || v.Config.Linux.Resources.MemoryLimitInBytes != 200<<20 {
		t.Errorf("%v, %v", v.Config.Linux, err)
	}
}

func TestUpdateFails(t *testing.T) {
	f, id := updating(t, "")
	before, err := f.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	unchanged := func(what string) {
		t.Helper()
		if now, err := f.Get(id); err != nil || now != before {
			t.Errorf("%s: the pod has changed (%v)", what, err)
		}
	}
	f.k.fail = f.k.n + 1
	if err := f.Update(t.Context(), id, nil, memory(200<<20)); !errors.Is(err, errBoom) {
		t.Errorf("the kernel refuses: %v", err)
	}
	unchanged("refused")
	f.k.fail, f.k.log = 0, nil
	f.save = func(string, *Pod) error { return errBoom }
	if err := f.Update(t.Context(), id, nil, memory(200<<20)); !errors.Is(err, errBoom) {
		t.Errorf("the record cannot be written: %v", err)
	}
	if got := strings.Join(f.k.log, ", "); got != "change pod memory=210763776, undo change" {
		t.Errorf("operations: %s", got)
	}
	unchanged("not recorded")
	if err := f.Update(t.Context(), id, nil, &runtimeapi.LinuxContainerResources{CpuQuota: 7}); !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("a quota of 7 µs: %v", err)
	}
	unchanged("invalid")
}
