package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestEvents: a subscriber is told of a pod's and its containers' lives, a program that ends at once included.
func TestEvents(t *testing.T) {
	n := startNode(t)
	n.pull()
	stream, err := n.runtime.GetContainerEvents(n.ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	p := n.runPod("events", nil)
	brief := p.run("brief", []string{"true"}, nil)
	brief.exit()
	brief.remove()
	long := p.run("long", forever, nil)
	p.remove()
	names := map[string]string{p.id: "pod", brief.id: "brief", long.id: "long"}
	var got []string
	var last int64
	for !slices.Contains(got, "pod DELETED") {
		e, err := stream.Recv()
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		if e.PodSandboxStatus.GetMetadata().GetName() != p.cfg.Metadata.Name {
			t.Errorf("%v has no status of the pod", e)
		}
		if e.CreatedAt <= last {
			t.Errorf("%s is not later than the event before", e)
		}
		last = e.CreatedAt
		kind := strings.TrimSuffix(strings.TrimPrefix(e.ContainerEventType.String(), "CONTAINER_"), "_EVENT")
		got = append(got, names[e.ContainerId]+" "+kind)
	}
	want := []string{
		"pod CREATED", "pod STARTED",
		"brief CREATED", "brief STARTED", "brief STOPPED", "brief DELETED", "long CREATED", "long STARTED",
		"long STOPPED", "pod STOPPED", "long DELETED", "pod DELETED",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestMetricsOfANode: figures of a container that has used something.
func TestMetricsOfANode(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("metrics", nil)
	c := p.run("c", forever, limits(&runtimeapi.LinuxContainerResources{CpuPeriod: 100000, CpuQuota: 50000, MemoryLimitInBytes: 64 << 20}))
	c.sh("dd if=/dev/zero of=/file bs=1M count=2 2>/dev/null; sync")
	r, err := n.runtime.ListPodSandboxMetrics(n.ctx, &runtimeapi.ListPodSandboxMetricsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.PodMetrics) != 1 || len(r.PodMetrics[0].ContainerMetrics) != 1 {
		t.Fatalf("%v", r.PodMetrics)
	}
	values := map[string]uint64{}
	for _, m := range slices.Concat(r.PodMetrics[0].Metrics, r.PodMetrics[0].ContainerMetrics[0].Metrics) {
		values[m.Name] = m.Value.Value
	}
	for name, want := range map[string]uint64{
		"container_processes": 1, "container_threads": 1, "container_spec_memory_limit_bytes": 64 << 20,
		"container_spec_cpu_quota": 50000, "container_oom_events_total": 0,
	} {
		if got, ok := values[name]; !ok || got != want {
			t.Errorf("%s is %d (%t), want %d", name, got, ok, want)
		}
	}
	for _, name := range []string{
		"container_memory_usage_bytes", "container_memory_working_set_bytes", "container_file_descriptors",
		"container_ulimits_soft", "container_fs_limit_bytes", "container_fs_usage_bytes", "container_start_time_seconds",
		"container_network_transmit_packets_total", "container_memory_max_usage_bytes",
	} {
		if values[name] == 0 {
			t.Errorf("%s is 0, or is not there", name)
		}
	}
}

// podLimit reads the memory limit of the pod's cgroup, the parent of its container's.
func podLimit(c *container) string {
	c.t.Helper()
	dir, v2 := c.cgroup("memory")
	name := "memory.limit_in_bytes"
	if v2 {
		name = "memory.max"
	}
	data, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func TestResizeOfAPod(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("resize", func(c *podConfig) {
		c.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 64 << 20}
	})
	c := p.run("c", forever, nil)
	if got := podLimit(c); got != fmt.Sprint(64<<20) {
		t.Errorf("limit of the pod at first: %s", got)
	}
	_, err := n.runtime.UpdatePodSandboxResources(n.ctx, &runtimeapi.UpdatePodSandboxResourcesRequest{
		PodSandboxId: p.id,
		Overhead:     &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 1 << 20},
		Resources:    &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 128 << 20},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := podLimit(c); got != fmt.Sprint(129<<20) {
		t.Errorf("limit of the pod after the update: %s", got)
	}
}

// TestResizeIsOneStep: the kernel refuses one limit of several, and none is changed.
func TestResizeIsOneStep(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("step", nil)
	before := &runtimeapi.LinuxContainerResources{
		CpuPeriod: 100000, CpuQuota: 20000, CpuShares: 512, MemoryLimitInBytes: 64 << 20, OomScoreAdj: 700,
	}
	c := p.run("c", forever, limits(before))
	score := func() string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", c.pid()))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	update := func(r *runtimeapi.LinuxContainerResources) error {
		_, err := n.runtime.UpdateContainerResources(n.ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: c.id, Linux: r})
		return err
	}
	err := update(&runtimeapi.LinuxContainerResources{CpuQuota: 50000, MemoryLimitInBytes: 128 << 20, OomScoreAdj: 800, CpusetCpus: "4000"})
	if err == nil || status.Code(err) == codes.Unavailable {
		t.Fatalf("a CPU that is not there: %v", err)
	}
	if q, m, s := c.quota(), c.limit("memory", "memory.limit_in_bytes", "memory.max"), score(); q != "20000" || m != fmt.Sprint(64<<20) || s != "700" {
		t.Errorf("after a refusal: quota %s, memory %s, score %s", q, m, s)
	}
	if err := update(&runtimeapi.LinuxContainerResources{CpuQuota: 50000, OomScoreAdj: 800}); err != nil {
		t.Fatal(err)
	}
	if q, s := c.quota(), score(); q != "50000" || s != "800" {
		t.Errorf("quota %s, score %s", q, s)
	}
	if got := c.sh("cat /proc/self/oom_score_adj"); strings.TrimSpace(got) != "800" {
		t.Errorf("a later exec has the score %q", got)
	}
	if r := c.status().Resources.GetLinux(); r.GetOomScoreAdj() != 800 || r.GetCpuQuota() != 50000 || r.GetCpuPeriod() != 100000 || r.GetMemoryLimitInBytes() != 64<<20 {
		t.Errorf("status reports %v", r)
	}
}
