package cgroups

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// fixture builds a tree of cgroup files: name in the cgroup → content.
func fixture(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUsageV1(t *testing.T) {
	tr := fakeV1(t, "cpuacct", "memory", "pids")
	fixture(t, tr.by["cpuacct"]+"/p", map[string]string{"cpuacct.usage": "123456789\n"})
	fixture(t, tr.by["pids"]+"/p", map[string]string{"pids.current": "3\n"})
	fixture(t, tr.by["memory"]+"/p", map[string]string{
		"memory.usage_in_bytes": "10485760\n",
		"memory.stat": "cache 1\nrss 2\npgfault 9\nhierarchical_memory_limit 67108864\nhierarchical_memsw_limit 100663296\n" +
			"total_rss 4096000\ntotal_swap 8192\ntotal_pgfault 55\ntotal_pgmajfault 5\ntotal_inactive_file 485760\nodd line here\n",
	})
	c := &Cgroup{path: "/p", t: tr}
	u, err := c.Usage()
	if err != nil {
		t.Fatal(err)
	}
	want := &Usage{
		CPUNanos: 123456789, Memory: 10485760, InactiveFile: 485760, RSS: 4096000, PageFaults: 55, MajorPageFaults: 5,
		MemoryLimit: ptr(uint64(67108864)), Swap: ptr(uint64(8192)), SwapLimit: ptr(uint64(33554432)), Pids: 3,
	}
	if d := cmp.Diff(want, u, cmpopts.IgnoreFields(Usage{}, "At")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if u.WorkingSet() != 10000000 || u.At.IsZero() {
		t.Errorf("working set %d, at %v", u.WorkingSet(), u.At)
	}
	if err := os.RemoveAll(tr.by["memory"] + "/p"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Usage(); !errors.Is(err, os.ErrNotExist) || !Gone(err) {
		t.Errorf("a cgroup that is gone: %v, want ErrNotExist", err)
	}
}

func TestUsageV1Unlimited(t *testing.T) {
	var u Usage
	parseMemoryStatV1([]byte("hierarchical_memory_limit 9223372036854771712\nhierarchical_memsw_limit 9223372036854771712\n"), &u)
	if u.MemoryLimit != nil || u.SwapLimit != nil {
		t.Errorf("limits %v, %v; want none", u.MemoryLimit, u.SwapLimit)
	}
	u = Usage{Memory: 5, InactiveFile: 9}
	if u.WorkingSet() != 0 {
		t.Errorf("working set %d, want 0: it never goes below", u.WorkingSet())
	}
}

func TestUsageV2(t *testing.T) {
	tr := &tree{mode: V2, unified: t.TempDir()}
	dir := tr.unified + "/p"
	fixture(t, dir, map[string]string{
		"cpu.stat":            "usage_usec 123\nuser_usec 100\nsystem_usec 23\n",
		"memory.current":      "10485760\n",
		"memory.stat":         "anon 4096000\nfile 77\ninactive_file 485760\npgfault 55\npgmajfault 5\n",
		"memory.max":          "67108864\n",
		"memory.swap.current": "8192\n",
		"memory.swap.max":     "max\n",
		"pids.current":        "3\n",
		"cpu.pressure":        "some avg10=1.50 avg60=0.20 avg300=0.03 total=4711\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=8\n",
	})
	c := &Cgroup{path: "/p", t: tr}
	u, err := c.Usage()
	if err != nil {
		t.Fatal(err)
	}
	want := &Usage{
		CPUNanos: 123000, Memory: 10485760, InactiveFile: 485760, RSS: 4096000, PageFaults: 55, MajorPageFaults: 5,
		MemoryLimit: ptr(uint64(67108864)), Swap: ptr(uint64(8192)), Pids: 3,
		CPUPressure: &Pressure{
			Some: PressureLine{Avg10: 1.5, Avg60: 0.2, Avg300: 0.03, Total: 4711},
			Full: PressureLine{Total: 8},
		},
	}
	if d := cmp.Diff(want, u, cmpopts.IgnoreFields(Usage{}, "At")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := os.Remove(dir + "/memory.current"); err != nil {
		t.Fatal(err)
	}
	if u, err = c.Usage(); err != nil || u.Memory != 0 || u.CPUNanos != 123000 {
		t.Errorf("memory controller off: %+v, %v", u, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Usage(); !Gone(err) {
		t.Errorf("a cgroup that is gone: %v", err)
	}
}

func TestParsePids(t *testing.T) {
	if d := cmp.Diff([]int{12, 7}, parsePids([]byte("12\n0\n7\nx\n"))); d != "" {
		t.Error(d)
	}
}

func TestReadFileGrows(t *testing.T) {
	dir := t.TempDir()
	long := make([]byte, 100_000)
	for i := range long {
		long[i] = byte('a' + i%26)
	}
	if err := os.WriteFile(dir+"/f", long, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readFile(dir, "f", make([]byte, 0, 16))
	if err != nil || string(got) != string(long) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func TestEnableControllers(t *testing.T) {
	root := t.TempDir()
	for d, have := range map[string]string{"": "cpu memory pids\n", "/a": "cpu\n", "/a/b": "\n"} {
		fixture(t, root+d, map[string]string{"cgroup.controllers": have, "cgroup.subtree_control": ""})
	}
	if err := enableControllers(root, "/a/b", []string{"cpu", "pids"}); err != nil {
		t.Fatal(err)
	}
	for d, want := range map[string]string{"": "+cpu +pids", "/a": "+cpu +pids", "/a/b": ""} {
		if got, _ := os.ReadFile(root + d + "/cgroup.subtree_control"); string(got) != want {
			t.Errorf("%q: wrote %q, want %q", d, got, want)
		}
	}
}
