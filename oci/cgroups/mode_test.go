package cgroups

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const hybridMounts = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,clone_children
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
52 31 0:32 / /somewhere/else/memory rw,relatime - cgroup cgroup rw,memory
60 31 0:39 / /mnt/with\040space rw - cgroup none rw,pids
`

func TestParseMounts(t *testing.T) {
	tr := parseMounts(hybridMounts)
	if tr.mode != Hybrid || tr.unified != "/sys/fs/cgroup/unified" {
		t.Errorf("mode %v, unified %q", tr.mode, tr.unified)
	}
	for name, want := range map[string]string{
		"cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
		"memory": "/sys/fs/cgroup/memory", "name=systemd": "/sys/fs/cgroup/systemd", "pids": "/mnt/with space",
		"hugetlb": "",
	} {
		if tr.by[name] != want {
			t.Errorf("%s is mounted at %q, want %q", name, tr.by[name], want)
		}
	}
	if len(tr.v1) != 5 {
		t.Errorf("%d v1 hierarchies, want 5: %v", len(tr.v1), tr.v1)
	}
}

func TestParseMountsModes(t *testing.T) {
	for mounts, want := range map[string]Mode{
		"": 0,
		"41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n":                                      V2,
		"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n":                          V1,
		"35 31 0:32 / /m rw - cgroup cgroup rw,memory\n41 31 0:38 / /u rw - cgroup2 cgroup2 rw\n":    Hybrid,
		"short line\n41 31 0:38 / /u rw shared:1 master:2 - cgroup2 cgroup2 rw,memory_recursiveprot": V2,
	} {
		if got := parseMounts(mounts).mode; got != want {
			t.Errorf("%q: mode %v, want %v", mounts, got, want)
		}
	}
}

func TestCleanPath(t *testing.T) {
	for in, want := range map[string]string{
		"/kubepods/pod1/c": "/kubepods/pod1/c",
		"kubepods//pod1/":  "/kubepods/pod1",
		"/a:b:c/d":         "/a:b:c/d",
		"":                 "",
		"/":                "",
		"/a/../../b":       "",
		"/a\nb":            "",
	} {
		got, err := cleanPath(in)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("cleanPath(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	if _, err := cleanPath("system.slice:slipway:id"); !errors.Is(err, ErrSystemd) {
		t.Errorf("systemd form: %v, want ErrSystemd", err)
	}
}

// fakeV1 is a v1 tree on a plain directory, where mkdir and rmdir work as on cgroupfs.
func fakeV1(t *testing.T, names ...string) *tree {
	t.Helper()
	tr := &tree{mode: V1, by: map[string]string{}}
	root := t.TempDir()
	for _, n := range names {
		m := filepath.Join(root, n)
		if err := os.Mkdir(m, 0o755); err != nil {
			t.Fatal(err)
		}
		tr.by[n] = m
		tr.v1 = append(tr.v1, hierarchy{names: []string{n}, mount: m})
	}
	return tr
}

func TestCreateRollsBack(t *testing.T) {
	names := []string{"cpu", "memory", "pids", "freezer"}
	for n := range names {
		tr := fakeV1(t, names...)
		if err := os.Remove(tr.v1[n].mount); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(tr.v1[0].mount, "kept"), 0o755); err != nil && n != 0 {
			t.Fatal(err)
		}
		c := &Cgroup{path: "/kept/pod/c", t: tr}
		if _, err := c.create(nil); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("hierarchy %d missing: %v, want ErrNotExist", n, err)
		}
		for i, h := range tr.v1 {
			left, _ := filepath.Glob(h.mount + "/*")
			if i == 0 && n != 0 {
				left = slices.DeleteFunc(left, func(s string) bool { return filepath.Base(s) == "kept" })
				if below, _ := filepath.Glob(h.mount + "/kept/*"); len(below) > 0 {
					left = append(left, below...)
				}
			}
			if len(left) > 0 {
				t.Errorf("hierarchy %d missing: left behind %v", n, left)
			}
		}
	}
}

func TestFilesOfModes(t *testing.T) {
	v1 := &Cgroup{path: "/p/c", t: parseMounts(hybridMounts)}
	want := []string{
		"/sys/fs/cgroup/cpu,cpuacct/p/c/tasks", "/sys/fs/cgroup/cpuset/p/c/tasks",
		"/sys/fs/cgroup/memory/p/c/tasks", "/sys/fs/cgroup/systemd/p/c/tasks", "/mnt/with space/p/c/tasks",
	}
	if got := v1.TasksFiles(); !slices.Equal(got, want) {
		t.Errorf("TasksFiles = %q", got)
	}
	if got := v1.OOMFile(); got != "/sys/fs/cgroup/memory/p/c/memory.oom_control" {
		t.Errorf("OOMFile = %q", got)
	}
	v2 := &Cgroup{path: "/p/c", t: parseMounts("41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")}
	if got := v2.TasksFiles(); len(got) != 0 {
		t.Errorf("v2 TasksFiles = %q, want none", got)
	}
	if got := v2.OOMFile(); got != "/sys/fs/cgroup/p/c/memory.events" {
		t.Errorf("v2 OOMFile = %q", got)
	}
	none := &Cgroup{path: "/p/c", t: parseMounts("35 31 0:32 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n")}
	if f, err := none.OpenDir(); f != nil || err != nil || none.OOMFile() != "" {
		t.Errorf("v1 without memory: OpenDir %v, %v, OOMFile %q; want nothing", f, err, none.OOMFile())
	}
}

func TestParents(t *testing.T) {
	if got := parents("/a/bb/c"); !slices.Equal(got, []string{"/a", "/a/bb"}) {
		t.Errorf("parents = %q", got)
	}
	if got := parents("/a"); len(got) != 0 {
		t.Errorf("parents of a top cgroup = %q", got)
	}
}
