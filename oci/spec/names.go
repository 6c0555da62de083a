package spec

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// rlimits are the RLIMIT_* numbers of asm-generic/resource.h, the same on amd64 and arm64.
var rlimits = []string{
	"RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC",
	"RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE",
	"RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
}

// Rlimit gives the RLIMIT_* number of a runtime-spec name ("RLIMIT_NOFILE").
func Rlimit(name string) (uint32, bool) {
	i := slices.Index(rlimits, name)
	return uint32(i), i >= 0
}

// RlimitName is the inverse of Rlimit; "" for an unknown number.
func RlimitName(n uint32) string {
	if n < uint32(len(rlimits)) {
		return rlimits[n]
	}
	return ""
}

// capabilities in the order of linux/capability.h.
var capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

var capabilityNumbers = func() map[string]int {
	m := make(map[string]int, len(capabilities))
	for i, n := range capabilities {
		m[n] = i
	}
	return m
}()

// Capability gives the number of a capability by its kernel name ("CAP_CHOWN").
func Capability(name string) (int, bool) {
	n, ok := capabilityNumbers[name]
	return n, ok
}

// CapabilityNames lists the names of a mask, lowest number first; numbers without a name are left out.
func CapabilityNames(mask uint64) []string {
	var out []string
	for i, n := range capabilities {
		if mask&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return out
}

// propagations are the values of linux.rootfsPropagation and the mount options alike.
var propagations = map[string]uint64{
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC,
	"slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC,
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC,
	"unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

// Propagation gives MS_{PRIVATE,SLAVE,SHARED,UNBINDABLE}[|MS_REC] of "rslave" and the like.
func Propagation(name string) (uint64, bool) {
	p, ok := propagations[name]
	return p, ok
}

// SysctlPath turns a sysctl's name into a path relative to /proc/sys, by the convention
// of sysctl.d(5): where the first separator is a dot, dots and slashes are exchanged
// ("net.ipv4.conf.eth0/1.forwarding"), else the name is a path already.
func SysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '/' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}
