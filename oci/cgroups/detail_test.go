package cgroups

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestDetailV1(t *testing.T) {
	tr := fakeV1(t, "cpuacct", "cpu", "memory", "pids", "blkio", "hugetlb")
	tr.unified = t.TempDir() // hybrid
	tr.mode = Hybrid
	keepSizes(t, "2MB")
	for name, files := range map[string]map[string]string{
		"cpuacct": {"cpuacct.usage": "300\n", "cpuacct.usage_user": "200\n", "cpuacct.usage_sys": "100\n"},
		"cpu":     {"cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 5000\n"},
		"memory": {
			"memory.usage_in_bytes": "4096\n", "memory.max_usage_in_bytes": "8192\n", "memory.kmem.usage_in_bytes": "512\n",
			"memory.failcnt": "6\n", "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
			"memory.stat": "pgfault 5\npgmajfault 1\ntotal_pgfault 50\ntotal_pgmajfault 10\ntotal_cache 77\ntotal_mapped_file 33\ntotal_active_file 22\n",
		},
		"pids": {"pids.current": "3\n", "pids.max": "max\n"},
		"blkio": {
			"blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\n8:0 Write 512\n8:0 Sync 1\n8:0 Total 4608\n8:16 Read 1\nTotal 4609\n",
			"blkio.throttle.io_serviced_recursive":      "8:0 Read 2\n8:0 Write 1\n8:0 Total 3\nTotal 3\n",
		},
		"hugetlb": {"hugetlb.2MB.usage_in_bytes": "2097152\n", "hugetlb.2MB.max_usage_in_bytes": "4194304\n"},
	} {
		fixture(t, tr.by[name]+"/p", files)
	}
	fixture(t, tr.unified+"/p", map[string]string{"memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"})
	got, err := (&Cgroup{path: "/p", t: tr}).Detail(true)
	if err != nil {
		t.Fatal(err)
	}
	want := &Detail{
		Usage: Usage{
			CPUNanos: 300, Memory: 4096, PageFaults: 50, MajorPageFaults: 10, Pids: 3,
			MemoryPressure: &Pressure{Some: PressureLine{Total: 9}},
		},
		UserNanos: 200, SystemNanos: 100, Periods: 10, ThrottledPeriods: 4, ThrottledNanos: 5000,
		Cache: 77, MappedFile: 33, ActiveFile: 22, KernelMemory: ptr(uint64(512)), MaxMemory: ptr(uint64(8192)),
		MemoryFailures: 6, OwnPageFaults: 5, OwnMajorFaults: 1, OOMKills: 2,
		Devices: []DeviceIO{
			{Major: 8, ReadBytes: 4096, WriteBytes: 512, Reads: 2, Writes: 1},
			{Major: 8, Minor: 16, ReadBytes: 1},
		},
		HugePages: []HugePages{{Size: "2MB", Bytes: 2 << 20, Max: ptr(uint64(4 << 20))}},
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(Usage{}, "At")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// keepSizes sets the machine's huge page sizes for one test.
func keepSizes(t *testing.T, sizes ...string) {
	t.Helper()
	old := hugePageSizes
	hugePageSizes = func() []string { return sizes }
	t.Cleanup(func() { hugePageSizes = old })
}

func TestDetailV2(t *testing.T) {
	tr := &tree{mode: V2, unified: t.TempDir()}
	keepSizes(t, "1GB", "2MB")
	fixture(t, tr.unified+"/p", map[string]string{
		"cpu.stat":            "usage_usec 300\nuser_usec 200\nsystem_usec 100\nnr_periods 10\nnr_throttled 4\nthrottled_usec 5\n",
		"memory.current":      "4096\n",
		"memory.stat":         "anon 1\nfile 77\nkernel_stack 1\npagetables 2\npercpu 3\nslab 4\nfile_mapped 33\nactive_file 22\npgfault 50\npgmajfault 10\n",
		"memory.events":       "low 0\nhigh 0\nmax 6\noom 3\noom_kill 2\n",
		"memory.peak":         "8192\n",
		"pids.current":        "3\n",
		"pids.max":            "100\n",
		"io.stat":             "8:0 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n8:16\n",
		"hugetlb.2MB.current": "2097152\n",
		"cgroup.procs":        "",
	})
	c := &Cgroup{path: "/p", t: tr}
	got, err := c.Detail(true)
	if err != nil {
		t.Fatal(err)
	}
	want := &Detail{
		Usage:     Usage{CPUNanos: 300000, Memory: 4096, RSS: 1, PageFaults: 50, MajorPageFaults: 10, Pids: 3},
		UserNanos: 200000, SystemNanos: 100000, Periods: 10, ThrottledPeriods: 4, ThrottledNanos: 5000,
		Cache: 77, MappedFile: 33, ActiveFile: 22, KernelMemory: ptr(uint64(10)), MaxMemory: ptr(uint64(8192)),
		MemoryFailures: 6, OwnPageFaults: 50, OwnMajorFaults: 10, OOMKills: 2, PidsLimit: ptr(uint64(100)),
		Devices:   []DeviceIO{{Major: 8, ReadBytes: 4096, WriteBytes: 512, Reads: 2, Writes: 1}},
		HugePages: []HugePages{{Size: "2MB", Bytes: 2 << 20}},
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(Usage{}, "At")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := os.RemoveAll(tr.unified + "/p"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Detail(true); !Gone(err) {
		t.Errorf("a cgroup that is gone: %v", err)
	}
}

// TestDetailOfAProcess: the kernel's own figures of a cgroup with one process in it.
func TestDetailOfAProcess(t *testing.T) {
	c, err := Create(name(t)+"/d", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(77))}})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	cmd := sleeper(t, c)
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	got, err := c.Detail(true)
	if err != nil {
		t.Fatal(err)
	}
	if got.Processes != 1 || got.Pids != 1 || got.Descriptors < 3 || got.Sockets != 0 {
		t.Errorf("%d processes, %d threads, %d descriptors, %d sockets of a sleep", got.Processes, got.Pids, got.Descriptors, got.Sockets)
	}
	if got.PidsLimit == nil || *got.PidsLimit != 77 {
		t.Errorf("limit of pids %v", got.PidsLimit)
	}
	if got.CPUPressure == nil {
		if _, err := os.Stat("/proc/pressure/cpu"); err == nil && c.unifiedDir() != "" {
			t.Error("no pressure where the kernel has it")
		}
	}
	if got.KernelMemory == nil {
		t.Error("no kernel memory")
	}
	if age := time.Since(got.At); age < 0 || age > time.Minute {
		t.Errorf("read %s ago", age)
	}
}

func TestDescriptors(t *testing.T) {
	all, sockets := descriptors("/proc/self/fd")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: t.TempDir() + "/s", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	more, moreSockets := descriptors("/proc/self/fd")
	if more <= all || moreSockets != sockets+1 { // the poller's own descriptors come with the first listener
		t.Errorf("%d descriptors and %d sockets, then %d and %d", all, sockets, more, moreSockets)
	}
	if n, _ := descriptors("/proc/0/fd"); n != 0 {
		t.Errorf("%d descriptors of no process", n)
	}
}

func BenchmarkDetail(b *testing.B) {
	c, err := Create(name(b)+"/d", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer destroy(b, c)
	for b.Loop() {
		if _, err := c.Detail(true); err != nil {
			b.Fatal(err)
		}
	}
}
