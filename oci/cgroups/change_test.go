package cgroups

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	ocgroups "github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// contents reads every file that limits of all kinds change.
func contents(t *testing.T, c *Cgroup) map[string]string {
	t.Helper()
	all, err := c.keep(&ocgroups.Resources{
		CpusetCpus: "0", Memory: 1, CpuShares: 1, CpuWeight: 1, PidsLimit: ptr(int64(1)),
		HugetlbLimit: []*ocgroups.HugepageLimit{{Pagesize: "2MB"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range all {
		got[f.name] = f.value
	}
	if len(got) < 5 {
		t.Fatalf("only %v", got)
	}
	return got
}

func differing(a, b map[string]string) (names []string) {
	for k, v := range a {
		if b[k] != v {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	return names
}

// TestChangeIsOneStep: the last limit is refused by the kernel, and all before it are as they were; a change
// that was made can be taken back.
func TestChangeIsOneStep(t *testing.T) {
	first := &specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Shares: ptr(uint64(512)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000))},
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(64 << 20))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(100))},
	}
	c, err := Create(name(t)+"/x", first)
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	before := contents(t, c)
	more := func(cpus string) *specs.LinuxResources {
		return &specs.LinuxResources{
			CPU:    &specs.LinuxCPU{Shares: ptr(uint64(2048)), Quota: ptr(int64(90000)), Period: ptr(uint64(50000)), Cpus: cpus},
			Memory: &specs.LinuxMemory{Limit: ptr(int64(256 << 20)), Swap: ptr(int64(256 << 20))},
			Pids:   &specs.LinuxPids{Limit: ptr(int64(50))},
		}
	}
	refused := more("")
	refused.CPU.Period = ptr(uint64(7)) // below the kernel's least, and after memory
	if _, err := c.Change(refused); err == nil {
		t.Fatal("a period of 7 µs was taken")
	}
	if d := differing(before, contents(t, c)); len(d) > 0 {
		t.Errorf("after a refusal other values are in %v", d)
	}
	if _, err := c.Change(more("4000")); err == nil {
		t.Fatal("a CPU that is not there was taken")
	}
	if d := differing(before, contents(t, c)); len(d) > 0 {
		t.Errorf("after the second refusal other values are in %v", d)
	}
	undo, err := c.Change(more("0"))
	if err != nil {
		t.Fatal(err)
	}
	if d := differing(before, contents(t, c)); len(d) < 4 {
		t.Errorf("changed %v only", d)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if d := differing(before, contents(t, c)); len(d) > 0 {
		t.Errorf("after undo other values are in %v", d)
	}
}

func TestTouched(t *testing.T) {
	tr := &tree{mode: V2, unified: "/u"}
	c := &Cgroup{path: "/p", t: tr}
	var got []string
	for _, f := range c.touched(&ocgroups.Resources{
		Memory: 1, CpuQuota: 1, Unified: map[string]string{"memory.high": "1", "io.weight": "1"},
		HugetlbLimit: []*ocgroups.HugepageLimit{{Pagesize: "2MB"}},
	}) {
		if f.dir != "/u/p" {
			t.Errorf("%s in %s", f.name, f.dir)
		}
		got = append(got, f.name)
	}
	want := "memory.max memory.swap.max memory.low cpu.weight cpu.max cpu.max.burst cpu.idle hugetlb.2MB.max hugetlb.2MB.rsvd.max io.weight memory.high"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("%s, want %s", s, want)
	}
}

func TestSetOOMScore(t *testing.T) {
	c, err := Create(name(t)+"/o", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	cmd := sleeper(t, c)
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	score := func() string {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/oom_score_adj")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	before := score()
	undo, err := c.SetOOMScore(cmd.Process.Pid, 777)
	if err != nil || score() != "777" {
		t.Fatalf("%v, score %s", err, score())
	}
	if err := undo(); err != nil || score() != before {
		t.Errorf("%v, score %s, was %s", err, score(), before)
	}
	if _, err := c.SetOOMScore(cmd.Process.Pid, 5000); err == nil || score() != before {
		t.Errorf("a score out of range: %v, score %s", err, score())
	}
}
