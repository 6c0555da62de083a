package probe

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestCgroupLayouts(t *testing.T) {
	for _, tc := range []struct {
		name, self, v2 string
		mode           CgroupMode
		controllers    []string
	}{
		{"pure v2", "0::/a\n", "cpu io memory", CgroupV2, []string{"cpu", "io", "memory"}},
		{"hybrid", "3:memory:/\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n", "", CgroupHybrid, []string{"cpu", "cpuacct", "memory"}},
		{"v1", "1:pids:/\n", "", CgroupV1, []string{"pids"}},
		{"none", "", "", CgroupNone, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			proc, sys := t.TempDir(), t.TempDir()
			write(t, proc, "self/cgroup", tc.self)
			write(t, sys, "fs/cgroup/cgroup.controllers", tc.v2)
			f := probe(proc, sys)
			if f.Cgroup != tc.mode || !slices.Equal(f.Controllers, tc.controllers) {
				t.Errorf("%v %v", f.Cgroup, f.Controllers)
			}
			if !slices.Equal(f.Missing(), missing(f)) {
				t.Errorf("missing %v", f.Missing())
			}
		})
	}
}

// missing is what a machine of the floor's kernel lacks with an empty procfs.
func missing(f Features) []string {
	var out []string
	if !f.Overlay {
		out = append(out, "overlay")
	}
	if f.Cgroup == CgroupNone {
		out = append(out, "cgroups")
	}
	return out
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFilesOfProc(t *testing.T) {
	proc, sys := t.TempDir(), t.TempDir()
	write(t, proc, "filesystems", "nodev\tproc\nnodev\toverlay\n")
	write(t, proc, "self/status", "Name:\tx\nCapBnd:\t000001fffeffffff\n")
	write(t, proc, "sys/kernel/cap_last_cap", "40\n")
	write(t, proc, "sys/kernel/seccomp/actions_avail", "kill_process errno allow\n")
	write(t, sys, "module/apparmor/parameters/enabled", "Y\n")
	f := probe(proc, sys)
	if !f.Overlay || f.Bounding != 0x1fffeffffff || f.LastCap != 40 || !f.Seccomp || len(f.SeccompActions) != 3 || !f.AppArmor || f.SELinux {
		t.Errorf("%+v", f)
	}
}

// TestThisMachine holds the floor: the tests themselves run on such a kernel.
func TestThisMachine(t *testing.T) {
	f := Get()
	if m := f.Missing(); len(m) != 0 {
		t.Errorf("kernel %s lacks %v", f.Release, m)
	}
	if f.LastCap < 40 || f.Cgroup == CgroupNone || len(f.Controllers) == 0 {
		t.Errorf("%+v", f)
	}
}
