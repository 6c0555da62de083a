package metrics

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/runtime"
	"github.com/slipway-cri/slipway/agent/stats"
)

var update = flag.Bool("update", false, "write the golden files")

func ptr[T any](v T) *T { return &v }

func full() *runtime.Detail {
	d := &runtime.Detail{
		UserNanos: 2_900_000_000, SystemNanos: 1_100_000_000, Periods: 10, ThrottledPeriods: 4, ThrottledNanos: 7e9,
		Cache: 77, MappedFile: 33, ActiveFile: 22, KernelMemory: ptr(uint64(512)), MaxMemory: ptr(uint64(8192)),
		MemoryFailures: 6, OwnPageFaults: 5, OwnMajorFaults: 1, OOMKills: 2, PidsLimit: ptr(uint64(100)),
		Devices:   []runtime.DeviceIO{{Major: 8, Minor: 1, ReadBytes: 4096, WriteBytes: 512, Reads: 2, Writes: 1}},
		HugePages: []runtime.HugePages{{Size: "2MB", Bytes: 2 << 20, Max: ptr(uint64(4 << 20))}, {Size: "1GB"}},
		Processes: 2, Descriptors: 9, Sockets: 1,
	}
	d.CPUNanos, d.Memory, d.InactiveFile, d.RSS = 4_000_000_000, 4096, 96, 1000
	d.PageFaults, d.MajorPageFaults, d.Swap, d.Pids = 50, 10, ptr(uint64(11)), 3
	d.CPUPressure = &runtime.Pressure{}
	d.CPUPressure.Some.Total, d.CPUPressure.Full.Total = 3_500_000, 1_000_000
	d.MemoryPressure, d.IOPressure = &runtime.Pressure{}, &runtime.Pressure{}
	return d
}

// details: a pod with all there is; one in the node's network with a container that asked for nothing and
// whose kernel says little; and one whose cgroup has just gone.
func details() *stats.Details {
	pod := func(id string, r *runtimeapi.LinuxContainerResources) *pods.Pod {
		return &pods.Pod{
			ID: id, CgroupPath: "/kubepods/" + id, CreatedAt: time.Unix(100, 0),
			Config: &runtimeapi.PodSandboxConfig{
				Metadata: &runtimeapi.PodSandboxMetadata{Name: "web-" + id, Namespace: "shop", Uid: "u"},
				Linux:    &runtimeapi.LinuxPodSandboxConfig{Resources: r},
			},
		}
	}
	container := func(id string, r *runtimeapi.LinuxContainerResources) *containers.Container {
		return &containers.Container{
			ID: id, CgroupPath: "/kubepods/x/" + id, StartedAt: time.Unix(200, 0),
			Config: &runtimeapi.ContainerConfig{
				Metadata: &runtimeapi.ContainerMetadata{Name: "main"},
				Image:    &runtimeapi.ImageSpec{Image: "docker.io/library/busybox:latest"},
				Linux:    &runtimeapi.LinuxContainerConfig{Resources: r},
			},
		}
	}
	asked := &runtimeapi.LinuxContainerResources{
		CpuPeriod: 50000, CpuQuota: 20000, CpuShares: 512, MemoryLimitInBytes: 64 << 20, MemorySwapLimitInBytes: 128 << 20,
		Unified: map[string]string{"memory.min": "4096"},
	}
	return &stats.Details{
		Filesystem: stats.Filesystem{Device: "/dev/vda1", Bytes: 1 << 30, Inodes: 1000, InodesFree: 900},
		Pods: []stats.PodDetail{
			{
				Pod: pod("p1", asked), Detail: full(),
				Interfaces: []stats.Interface{{
					Name: "eth0", RxBytes: 1, RxPackets: 2, RxErrors: 3, RxDrops: 4, TxBytes: 5, TxPackets: 6, TxErrors: 7, TxDrops: 8,
				}},
				Containers: []stats.ContainerDetail{{
					Container: container("c1", asked), Detail: full(), WritableBytes: 4711, WritableAt: time.Unix(300, 0),
					OpenFiles: ptr(uint64(1024)),
				}},
			},
			{Pod: pod("p2", nil), Detail: &runtime.Detail{}, Containers: []stats.ContainerDetail{
				{Container: container("c2", nil), Detail: &runtime.Detail{}},
			}},
			{Pod: pod("p3", nil), Containers: []stats.ContainerDetail{{Container: container("c3", nil)}}},
		},
	}
}

func answer() []*runtimeapi.PodSandboxMetrics {
	return Pods(details(), nil, time.Unix(1000, 0), func(major, minor uint32) string {
		return fmt.Sprintf("/dev/%d-%d", major, minor)
	})
}

// text is the metrics as a monitoring system shows them.
func text(all []*runtimeapi.PodSandboxMetrics, keys map[string][]string) string {
	var b strings.Builder
	show := func(list []*runtimeapi.Metric) {
		for _, m := range list {
			var labels []string
			for i, k := range keys[m.Name] {
				labels = append(labels, fmt.Sprintf("%s=%q", k, m.LabelValues[i]))
			}
			fmt.Fprintf(&b, "%s{%s} %d %s\n", m.Name, strings.Join(labels, ","), m.Value.Value, strings.ToLower(m.MetricType.String()))
		}
	}
	for _, p := range all {
		fmt.Fprintf(&b, "# pod %s\n", p.PodSandboxId)
		show(p.Metrics)
		for _, c := range p.ContainerMetrics {
			fmt.Fprintf(&b, "# container %s\n", c.ContainerId)
			show(c.Metrics)
		}
	}
	return b.String()
}

func keysOf(t *testing.T) map[string][]string {
	keys := map[string][]string{}
	for _, d := range Descriptors() {
		if keys[d.Name] != nil || d.Help == "" {
			t.Errorf("descriptor %s is there twice, or has no help", d.Name)
		}
		keys[d.Name] = d.LabelKeys
	}
	return keys
}

func TestGolden(t *testing.T) {
	got := text(answer(), keysOf(t))
	golden := filepath.Join("testdata", "metrics.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s; with -update:\n%s", golden, got)
	}
}

// TestNoMetricTwice: a client that collects for Prometheus refuses everything when two metrics have the
// same name and labels, or other labels than their descriptor.
func TestNoMetricTwice(t *testing.T) {
	keys, seen, found := keysOf(t), map[string]bool{}, map[string]bool{}
	check := func(list []*runtimeapi.Metric) {
		for _, m := range list {
			id := m.Name + "\x00" + strings.Join(m.LabelValues, "\x00")
			if seen[id] {
				t.Errorf("%s %v is there twice", m.Name, m.LabelValues)
			}
			seen[id], found[m.Name] = true, true
			if len(m.LabelValues) != len(keys[m.Name]) {
				t.Errorf("%s has %d labels, its descriptor %d", m.Name, len(m.LabelValues), len(keys[m.Name]))
			}
		}
	}
	for _, p := range answer() {
		check(p.Metrics)
		for _, c := range p.ContainerMetrics {
			check(c.Metrics)
		}
	}
	for name := range keys {
		if !found[name] {
			t.Errorf("%s has a descriptor, and no metric where everything is known", name)
		}
	}
}

// kubelets are the metrics that a kubelet's own cAdvisor gives of pods (Kubernetes 1.37).
const kubelets = `container_blkio_device_usage_total container_cpu_cfs_periods_total container_cpu_cfs_throttled_periods_total
container_cpu_cfs_throttled_seconds_total container_cpu_system_seconds_total container_cpu_usage_seconds_total
container_cpu_user_seconds_total container_file_descriptors container_fs_inodes_free container_fs_inodes_total
container_fs_limit_bytes container_fs_reads_bytes_total container_fs_reads_total container_fs_usage_bytes
container_fs_writes_bytes_total container_fs_writes_total container_hugetlb_max_usage_bytes container_hugetlb_usage_bytes
container_last_seen container_memory_cache container_memory_failcnt container_memory_failures_total
container_memory_kernel_usage container_memory_mapped_file container_memory_max_usage_bytes container_memory_rss
container_memory_swap container_memory_usage_bytes container_memory_working_set_bytes
container_network_receive_bytes_total container_network_receive_errors_total
container_network_receive_packets_dropped_total container_network_receive_packets_total
container_network_transmit_bytes_total container_network_transmit_errors_total
container_network_transmit_packets_dropped_total container_network_transmit_packets_total container_oom_events_total
container_pressure_cpu_stalled_seconds_total container_pressure_cpu_waiting_seconds_total
container_pressure_io_stalled_seconds_total container_pressure_io_waiting_seconds_total
container_pressure_memory_stalled_seconds_total container_pressure_memory_waiting_seconds_total container_processes
container_sockets container_spec_cpu_period container_spec_cpu_quota container_spec_cpu_shares
container_spec_memory_limit_bytes container_spec_memory_reservation_limit_bytes container_spec_memory_swap_limit_bytes
container_start_time_seconds container_threads container_threads_max container_ulimits_soft`

func TestAllOfKubelets(t *testing.T) {
	keys := keysOf(t)
	names := strings.Fields(kubelets)
	for _, name := range names {
		if keys[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	for name, k := range keys {
		if !slices.Equal(k[:len(baseLabels)], baseLabels) {
			t.Errorf("%s: labels %v", name, k)
		}
	}
}

func BenchmarkPods200(b *testing.B) {
	d := details()
	one := d.Pods[0]
	d.Pods = nil
	for range 200 {
		d.Pods = append(d.Pods, one)
	}
	for b.Loop() {
		Pods(d, nil, time.Unix(1, 0), func(uint32, uint32) string { return "/dev/vda" })
	}
}
