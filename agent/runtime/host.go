package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/cgroups"
	"github.com/slipway-cri/slipway/oci/plan"
)

// Host is what this machine allows, read once when the agent starts.
type Host struct {
	BoundingCaps []string // "CAP_…" that the agent may hand out, in the kernel's order
	CgroupV2     bool     // pure v2
	CgroupMode   string   // "v1", "hybrid" or "v2"
	OOMScoreMin  int      // the lowest oom_score_adj that may be set
	AppArmor     bool     // enabled in the kernel
	SELinux      bool
	// RecursiveReadOnly says that a bind can be made read-only with all below it.
	RecursiveReadOnly bool
	// UserNamespaces says that a pod can have one: they are allowed, and overlayfs takes
	// id-mapped layers.
	UserNamespaces bool

	lastCap  int
	bounding uint64
	features plan.Features
}

// Host tells what the machine allows.
func (r *Runtime) Host() Host { return r.host }

func probeHost() (Host, error) {
	var h Host
	mode, err := cgroups.SystemMode()
	if err != nil {
		return h, err
	}
	h.CgroupMode, h.CgroupV2 = mode.String(), mode == cgroups.V2
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return h, err
	}
	if h.bounding, err = capMask(status, "CapBnd"); err != nil {
		return h, err
	}
	effective, err := capMask(status, "CapEff")
	if err != nil {
		return h, err
	}
	if h.lastCap, err = readInt("/proc/sys/kernel/cap_last_cap"); err != nil {
		return h, err
	}
	h.BoundingCaps = capNames(h.bounding)
	// Without CAP_SYS_RESOURCE oom_score_adj cannot go below what the process has
	// (proc_pid_oom_score_adj(5)).
	h.OOMScoreMin = -1000
	if effective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		if h.OOMScoreMin, err = readInt("/proc/self/oom_score_adj"); err != nil {
			return h, err
		}
	}
	enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	h.AppArmor = bytes.HasPrefix(enabled, []byte("Y"))
	h.SELinux = unix.Access("/sys/fs/selinux/enforce", unix.F_OK) == nil
	h.features = probeFeatures()
	h.RecursiveReadOnly = h.features.MountSetattr
	h.UserNamespaces = userNamespaces()
	return h, nil
}

func probeFeatures() plan.Features {
	f := plan.Features{
		CgroupNS: unix.Access("/proc/self/ns/cgroup", unix.F_OK) == nil,
		// With an invalid descriptor the call fails in any case, by ENOSYS only where it is missing.
		MountSetattr: !errors.Is(unix.MountSetattr(-1, "", 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}), unix.ENOSYS),
	}
	if b, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail"); err == nil {
		f.SeccompActions = strings.Fields(string(b))
	}
	return f
}

// capMask reads one line of /proc/PID/status: hexadecimal, bit n for capability n.
func capMask(status []byte, key string) (uint64, error) {
	for line := range bytes.Lines(status) {
		if v, ok := bytes.CutPrefix(line, []byte(key+":")); ok {
			return strconv.ParseUint(string(bytes.TrimSpace(v)), 16, 64)
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no %s", key)
}

// capNames leaves out capabilities that are newer than the table of names.
func capNames(mask uint64) []string {
	var names []string
	for _, c := range capability.ListKnown() {
		if mask&(1<<uint(c)) != 0 {
			names = append(names, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	return names
}

func readInt(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}
