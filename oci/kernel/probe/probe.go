// Package probe finds out what this machine's kernel can do, by asking it: each feature
// is tried in a way that changes nothing. The answers are for plans, fallbacks and people
// (`slipway check`); nothing is fixed here. It is for the agent and the command line, not
// for slipway-init. Get asks once and may be called from any goroutine.
package probe

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// CgroupMode is how a machine has its cgroups.
type CgroupMode string

// The three layouts, and none.
const (
	CgroupNone   CgroupMode = "none"
	CgroupV1     CgroupMode = "v1"
	CgroupHybrid CgroupMode = "hybrid" // v1 controllers, and cgroup2 beside them
	CgroupV2     CgroupMode = "v2"
)

// Features is what was found.
type Features struct {
	Release string // uname -r

	Openat2          bool // 5.6: required
	MountAPI         bool // 5.2, open_tree, move_mount, fsopen: required
	MountSetattr     bool // 5.12: required; recursive read-only
	IdmappedMounts   bool // 5.12, and the file system must support it
	Pidfd            bool // 5.3: required
	PidfdGetInfo     bool // 6.13; exit codes of reaped processes from 6.15
	CloseRange       bool // 5.9, with CLOSE_RANGE_CLOEXEC 5.11: required
	CloneIntoCgroup  bool // 5.7, and a cgroup2 to be born in
	MemfdExec        bool // 6.3, MFD_EXEC; before it every memfd may be executed
	CgroupNS, TimeNS bool
	UserNS           bool
	Overlay          bool
	Seccomp          bool
	SeccompActions   []string // kernel/seccomp/actions_avail; nil without seccomp
	AppArmor         bool
	SELinux          bool

	Cgroup      CgroupMode
	Controllers []string // of v1 and v2 together, sorted
	LastCap     int      // highest capability that the kernel knows
	Bounding    uint64   // this process's bounding set, bit n for capability n
}

// Get probes once for the life of the process.
var Get = sync.OnceValue(func() Features { return probe("/proc", "/sys") })

// probe takes the places of procfs and sysfs, so that their reading can be tested.
func probe(proc, sys string) Features {
	f := Features{
		Release:      release(),
		Openat2:      tried(openat2),
		MountAPI:     tried(mountAPI),
		MountSetattr: called(func() error { return unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}) }),
		Pidfd:        tried(pidfd),
		PidfdGetInfo: tried(pidfdGetInfo),
		CloseRange:   called(func() error { return unix.CloseRange(1<<30, 1<<30, unix.CLOSE_RANGE_CLOEXEC) }),
		MemfdExec:    tried(memfdExec),
		CgroupNS:     exists(proc, "self/ns/cgroup"),
		TimeNS:       exists(proc, "self/ns/time"),
		UserNS:       exists(proc, "self/ns/user") && number(proc, "sys/user/max_user_namespaces") != 0,
		Overlay:      overlay(proc),
		AppArmor:     strings.HasPrefix(text(sys, "module/apparmor/parameters/enabled"), "Y"),
		SELinux:      exists(sys, "fs/selinux/enforce"),
		LastCap:      number(proc, "sys/kernel/cap_last_cap"),
		Bounding:     bounding(proc),
	}
	f.IdmappedMounts = f.MountSetattr // the same release; the rest is the file system's
	if actions := text(proc, "sys/kernel/seccomp/actions_avail"); actions != "" {
		f.Seccomp, f.SeccompActions = true, strings.Fields(actions)
	}
	f.Cgroup = cgroupMode(text(proc, "self/cgroup"))
	f.Controllers = controllers(text(proc, "self/cgroup"), text(sys, "fs/cgroup/cgroup.controllers"))
	// clone3 with CLONE_INTO_CGROUP came with 5.7, one release before faccessat2.
	f.CloneIntoCgroup = (f.Cgroup == CgroupV2 || f.Cgroup == CgroupHybrid) && called(func() error {
		return unix.Faccessat2(unix.AT_FDCWD, "/", unix.F_OK, 0)
	})
	return f
}

// Missing names what Slipway cannot do without and this kernel has not; empty is good.
func (f Features) Missing() []string {
	var out []string
	for _, need := range []struct {
		name string
		ok   bool
	}{
		{"openat2 (Linux 5.6)", f.Openat2},
		{"the mount API of open_tree and fsopen (Linux 5.2)", f.MountAPI},
		{"mount_setattr (Linux 5.12)", f.MountSetattr},
		{"pidfd_open (Linux 5.3)", f.Pidfd},
		{"close_range with CLOEXEC (Linux 5.11)", f.CloseRange},
		{"overlay", f.Overlay},
		{"cgroups", f.Cgroup != CgroupNone},
	} {
		if !need.ok {
			out = append(out, need.name)
		}
	}
	return out
}

func cgroupMode(self string) CgroupMode {
	v1, v2 := false, false
	for line := range strings.Lines(self) {
		if strings.HasPrefix(line, "0::") {
			v2 = true
		} else if strings.TrimSpace(line) != "" {
			v1 = true
		}
	}
	switch {
	case v1 && v2:
		return CgroupHybrid
	case v1:
		return CgroupV1
	case v2:
		return CgroupV2
	}
	return CgroupNone
}

func controllers(self, v2 string) []string {
	out := strings.Fields(v2)
	for line := range strings.Lines(self) {
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			if c != "" && !strings.HasPrefix(c, "name=") {
				out = append(out, c)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// overlay is listed once its module is loaded; before that the module must be on disk.
func overlay(proc string) bool {
	for line := range strings.Lines(text(proc, "filesystems")) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == "overlay" {
			return true
		}
	}
	found, _ := filepath.Glob("/lib/modules/" + release() + "/kernel/fs/overlayfs/overlay.ko*")
	return len(found) > 0
}

func bounding(proc string) uint64 {
	for line := range strings.Lines(text(proc, "self/status")) {
		if hex, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			return parseHex(strings.TrimSpace(hex))
		}
	}
	return 0
}

func text(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return "" // absent means that the kernel has not got it
	}
	return string(b)
}

func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	name, _, _ := bytes.Cut(u.Release[:], []byte{0})
	return string(name)
}
