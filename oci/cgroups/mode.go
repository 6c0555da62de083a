package cgroups

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Mode is how the machine's controllers are mounted.
type Mode uint8

// Modes. In Hybrid mode most controllers are v1 hierarchies and a cgroup2 mount beside
// them has the rest, perhaps none.
const (
	V1 Mode = iota + 1
	Hybrid
	V2
)

func (m Mode) String() string {
	switch m {
	case V1:
		return "v1"
	case Hybrid:
		return "hybrid"
	case V2:
		return "v2"
	}
	return "unknown"
}

// hierarchy is one mounted v1 hierarchy.
type hierarchy struct {
	names []string // controllers, or one "name=…"
	mount string
}

// tree is where this machine's hierarchies are mounted.
type tree struct {
	mode    Mode
	v1      []hierarchy
	by      map[string]string // v1 controller or "name=…" → mount point
	unified string            // cgroup2 mount point, "" for none
	// controllers of the cgroup2 root.
	controllers []string
	// memsw is whether v1 accounts swap.
	memsw bool
}

// system is looked up once: hierarchies are not remounted under a running node.
var system = sync.OnceValues(func() (*tree, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	t := parseMounts(string(data))
	if t.mode == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted: mount cgroup2 at /sys/fs/cgroup")
	}
	t.probe()
	return t, nil
})

// SystemMode is the machine's Mode; an error says that no hierarchy is mounted.
func SystemMode() (Mode, error) {
	t, err := system()
	if err != nil {
		return 0, err
	}
	return t.mode, nil
}

// Controllers lists the controllers that limits can be set for, v1's and v2's, sorted.
func Controllers() ([]string, error) {
	t, err := system()
	if err != nil {
		return nil, err
	}
	all := slices.Clone(t.controllers)
	for _, h := range t.v1 {
		all = append(all, h.names...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func (t *tree) probe() {
	if t.unified != "" {
		data, _ := os.ReadFile(filepath.Join(t.unified, "cgroup.controllers"))
		t.controllers = strings.Fields(string(data))
	}
	if m := t.by["memory"]; m != "" {
		t.memsw = unix.Access(filepath.Join(m, "memory.memsw.limit_in_bytes"), unix.F_OK) == nil
	}
}

// parseMounts reads /proc/self/mountinfo (proc(5)): fields 5 the mount point, and after
// "-" the type, source and super options, of which a v1 mount's name its controllers.
// The first mount of a hierarchy counts.
func parseMounts(mountinfo string) *tree {
	t := &tree{by: map[string]string{}}
	for line := range strings.Lines(mountinfo) {
		mount, super, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		f, s := strings.Fields(mount), strings.Fields(super)
		if !ok || len(f) < 5 || len(s) < 3 {
			continue
		}
		at := unescape(f[4])
		switch s[0] {
		case "cgroup2":
			if t.unified == "" {
				t.unified = at
			}
		case "cgroup":
			h := hierarchy{names: v1Names(s[2]), mount: at}
			if len(h.names) == 0 || t.by[h.names[0]] != "" {
				continue
			}
			for _, n := range h.names {
				t.by[n] = at
			}
			t.v1 = append(t.v1, h)
		}
	}
	switch {
	case len(t.v1) > 0 && t.unified != "":
		t.mode = Hybrid
	case len(t.v1) > 0:
		t.mode = V1
	case t.unified != "":
		t.mode = V2
	}
	return t
}

// v1Controllers are all that v1 ever had; other super options ("rw", "xattr", "noprefix",
// "release_agent=…") are not names of hierarchies.
var v1Controllers = []string{
	"blkio", "cpu", "cpuacct", "cpuset", "debug", "devices", "freezer", "hugetlb", "memory",
	"misc", "net_cls", "net_prio", "perf_event", "pids", "rdma",
}

func v1Names(super string) []string {
	var names []string
	for o := range strings.SplitSeq(super, ",") {
		if strings.HasPrefix(o, "name=") || slices.Contains(v1Controllers, o) {
			names = append(names, o)
		}
	}
	return names
}

// unescape undoes mountinfo's octal escapes of space, tab, newline and backslash.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
