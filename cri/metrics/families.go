package metrics

import (
	"slices"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/runtime"
	"github.com/slipway-cri/slipway/agent/stats"
)

const (
	counter = runtimeapi.MetricType_COUNTER
	gauge   = runtimeapi.MetricType_GAUGE
)

// families is the table, by what they are of.
var families = slices.Concat(lifeFamilies, cpuFamilies, memoryFamilies, diskFamilies, filesystemFamilies,
	hugetlbFamilies, networkFamilies, pressureFamilies, processFamilies, specFamilies)

var lifeFamilies = []family{
	{"container_last_seen", "When the figures were read, in seconds of Unix time", gauge, nil,
		func(s *source) []sample { return one(uint64(s.at.Unix())) }},
	{"container_start_time_seconds", "When it started, in seconds of Unix time", gauge, nil, started},
}

var cpuFamilies = []family{
	{"container_cpu_user_seconds_total", "CPU time in user mode, in seconds", counter, nil,
		figure(func(d *runtime.Detail) uint64 { return seconds(d.UserNanos) })},
	{"container_cpu_system_seconds_total", "CPU time in kernel mode, in seconds", counter, nil,
		figure(func(d *runtime.Detail) uint64 { return seconds(d.SystemNanos) })},
	{"container_cpu_usage_seconds_total", "CPU time on all CPUs together, in seconds", counter, []string{"cpu"},
		labelled(func(d *runtime.Detail) []sample { return []sample{{seconds(d.CPUNanos), []string{"total"}}} })},
	{"container_cpu_cfs_periods_total", "Periods of the CPU quota in which it ran", counter, nil,
		withQuota(func(d *runtime.Detail) uint64 { return d.Periods })},
	{"container_cpu_cfs_throttled_periods_total", "Periods in which the CPU quota was used up", counter, nil,
		withQuota(func(d *runtime.Detail) uint64 { return d.ThrottledPeriods })},
	{"container_cpu_cfs_throttled_seconds_total", "Time without CPU for want of quota, in seconds", counter, nil,
		withQuota(func(d *runtime.Detail) uint64 { return seconds(d.ThrottledNanos) })},
}

var memoryFamilies = []family{
	{"container_memory_cache", "Page cache, in bytes", gauge, nil,
		figure(func(d *runtime.Detail) uint64 { return d.Cache })},
	{"container_memory_rss", "Anonymous memory, in bytes", gauge, nil,
		figure(func(d *runtime.Detail) uint64 { return d.RSS })},
	{"container_memory_kernel_usage", "Memory that the kernel holds on its behalf, in bytes", gauge, nil,
		known(func(d *runtime.Detail) *uint64 { return d.KernelMemory })},
	{"container_memory_mapped_file", "Files mapped into memory, in bytes", gauge, nil,
		figure(func(d *runtime.Detail) uint64 { return d.MappedFile })},
	{"container_memory_total_active_file_bytes", "Page cache used lately, in bytes", gauge, nil,
		figure(func(d *runtime.Detail) uint64 { return d.ActiveFile })},
	{"container_memory_total_inactive_file_bytes", "Page cache that would be reclaimed first, in bytes", gauge, nil,
		figure(func(d *runtime.Detail) uint64 { return d.InactiveFile })},
	{"container_memory_swap", "Swap in use, in bytes", gauge, nil,
		figure(func(d *runtime.Detail) uint64 { return orZero(d.Swap) })},
	{"container_memory_failcnt", "How often the memory limit was hit", counter, nil,
		figure(func(d *runtime.Detail) uint64 { return d.MemoryFailures })},
	{"container_memory_usage_bytes", "All memory that is charged, page cache too, in bytes", gauge, nil,
		figure(func(d *runtime.Detail) uint64 { return d.Memory })},
	{"container_memory_max_usage_bytes", "The most memory that was charged so far, in bytes", gauge, nil,
		known(func(d *runtime.Detail) *uint64 { return d.MaxMemory })},
	{"container_memory_working_set_bytes", "Memory less what would be reclaimed first, in bytes", gauge, nil,
		figure(func(d *runtime.Detail) uint64 { return d.WorkingSet() })},
	{"container_memory_failures_total", "Page faults, of itself and with the cgroups below", counter,
		[]string{"failure_type", "scope"}, labelled(faults)},
	{"container_oom_events_total", "Processes that the kernel killed for want of memory", counter, nil,
		figure(func(d *runtime.Detail) uint64 { return d.OOMKills })},
}

var diskFamilies = []family{
	{"container_blkio_device_usage_total", "Bytes read from and written to a block device", counter,
		[]string{"device", "major", "minor", "operation"}, deviceBytes},
	{"container_fs_reads_bytes_total", "Bytes read from a block device", counter, []string{"device"},
		devices(func(d *deviceIO) uint64 { return d.ReadBytes })},
	{"container_fs_reads_total", "Reads from a block device", counter, []string{"device"},
		devices(func(d *deviceIO) uint64 { return d.Reads })},
	{"container_fs_writes_bytes_total", "Bytes written to a block device", counter, []string{"device"},
		devices(func(d *deviceIO) uint64 { return d.WriteBytes })},
	{"container_fs_writes_total", "Writes to a block device", counter, []string{"device"},
		devices(func(d *deviceIO) uint64 { return d.Writes })},
}

var filesystemFamilies = []family{
	{"container_fs_inodes_free", "Free inodes of the file system that it writes to", gauge, []string{"device"},
		filesystem(func(s *source) uint64 { return s.fs.InodesFree })},
	{"container_fs_inodes_total", "All inodes of the file system that it writes to", gauge, []string{"device"},
		filesystem(func(s *source) uint64 { return s.fs.Inodes })},
	{"container_fs_limit_bytes", "Size of the file system that it writes to, in bytes", gauge, []string{"device"},
		filesystem(func(s *source) uint64 { return s.fs.Bytes })},
	{"container_fs_usage_bytes", "What its writable layer takes, in bytes", gauge, []string{"device"}, written},
}

var hugetlbFamilies = []family{
	{"container_hugetlb_usage_bytes", "Huge pages in use, in bytes", gauge, []string{"pagesize"}, labelled(hugePages)},
	{"container_hugetlb_max_usage_bytes", "The most huge pages in use so far, in bytes", gauge, []string{"pagesize"},
		labelled(maxHugePages)},
}

var networkFamilies = []family{
	{"container_network_receive_bytes_total", "Bytes received", counter, []string{"interface"},
		links(func(i *stats.Interface) uint64 { return i.RxBytes })},
	{"container_network_receive_packets_total", "Packets received", counter, []string{"interface"},
		links(func(i *stats.Interface) uint64 { return i.RxPackets })},
	{"container_network_receive_packets_dropped_total", "Packets dropped on reception", counter, []string{"interface"},
		links(func(i *stats.Interface) uint64 { return i.RxDrops })},
	{"container_network_receive_errors_total", "Faults of reception", counter, []string{"interface"},
		links(func(i *stats.Interface) uint64 { return i.RxErrors })},
	{"container_network_transmit_bytes_total", "Bytes sent", counter, []string{"interface"},
		links(func(i *stats.Interface) uint64 { return i.TxBytes })},
	{"container_network_transmit_packets_total", "Packets sent", counter, []string{"interface"},
		links(func(i *stats.Interface) uint64 { return i.TxPackets })},
	{"container_network_transmit_packets_dropped_total", "Packets dropped on sending", counter, []string{"interface"},
		links(func(i *stats.Interface) uint64 { return i.TxDrops })},
	{"container_network_transmit_errors_total", "Faults of sending", counter, []string{"interface"},
		links(func(i *stats.Interface) uint64 { return i.TxErrors })},
}

var pressureFamilies = []family{
	{"container_pressure_cpu_stalled_seconds_total", "Time in which all of it waited for a CPU, in seconds", counter, nil,
		stalled(func(d *runtime.Detail) *pressure { return d.CPUPressure })},
	{"container_pressure_cpu_waiting_seconds_total", "Time in which some of it waited for a CPU, in seconds", counter, nil,
		waiting(func(d *runtime.Detail) *pressure { return d.CPUPressure })},
	{"container_pressure_memory_stalled_seconds_total", "Time in which all of it waited for memory, in seconds", counter, nil,
		stalled(func(d *runtime.Detail) *pressure { return d.MemoryPressure })},
	{"container_pressure_memory_waiting_seconds_total", "Time in which some of it waited for memory, in seconds", counter, nil,
		waiting(func(d *runtime.Detail) *pressure { return d.MemoryPressure })},
	{"container_pressure_io_stalled_seconds_total", "Time in which all of it waited for a disk, in seconds", counter, nil,
		stalled(func(d *runtime.Detail) *pressure { return d.IOPressure })},
	{"container_pressure_io_waiting_seconds_total", "Time in which some of it waited for a disk, in seconds", counter, nil,
		waiting(func(d *runtime.Detail) *pressure { return d.IOPressure })},
}

var processFamilies = []family{
	{"container_file_descriptors", "Open file descriptors", gauge, nil,
		ofContainers(func(d *runtime.Detail) uint64 { return d.Descriptors })},
	{"container_processes", "Processes", gauge, nil,
		ofContainers(func(d *runtime.Detail) uint64 { return d.Processes })},
	{"container_sockets", "Open sockets", gauge, nil,
		ofContainers(func(d *runtime.Detail) uint64 { return d.Sockets })},
	{"container_threads", "Threads", gauge, nil,
		figure(func(d *runtime.Detail) uint64 { return d.Pids })},
	{"container_threads_max", "The most threads that are allowed, 0 for no limit", gauge, nil,
		figure(func(d *runtime.Detail) uint64 { return orZero(d.PidsLimit) })},
	{"container_ulimits_soft", "Soft limits of its first process", gauge, []string{"ulimit"}, ulimits},
}

var specFamilies = []family{
	{"container_spec_cpu_period", "Period of the CPU quota, in microseconds", gauge, nil,
		limit(func(r *resources) uint64 { return positive(r.GetCpuPeriod(), defaultPeriod) })},
	{"container_spec_cpu_quota", "CPU time allowed in a period, in microseconds", gauge, nil, quota},
	{"container_spec_cpu_shares", "CPU shares", gauge, nil,
		limit(func(r *resources) uint64 { return positive(r.GetCpuShares(), defaultShares) })},
	{"container_spec_memory_limit_bytes", "Memory limit in bytes, 0 for none", gauge, nil,
		limit(func(r *resources) uint64 { return positive(r.GetMemoryLimitInBytes(), 0) })},
	{"container_spec_memory_reservation_limit_bytes", "Memory that is not reclaimed, in bytes, 0 for none", gauge, nil,
		limit(reservation)},
	{"container_spec_memory_swap_limit_bytes", "Limit of memory and swap together in bytes, 0 for none", gauge, nil,
		limit(func(r *resources) uint64 {
			return positive(r.GetMemorySwapLimitInBytes(), positive(r.GetMemoryLimitInBytes(), 0))
		})},
}
