// Package security gives up what a container's process must not have: capabilities,
// privileges by exec, system calls, identity, resource limits. The order of its calls is
// initproc's. All calls are for the calling thread alone, which must be the one that
// execs. It is linked into slipway-init; it keeps no state and locks nothing.
package security

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
)

// Kernel is what this package asks for.
type Kernel interface {
	Prctl(option int, a2, a3 uintptr) error
	Capset(effective, permitted, inheritable uint64) error
	Setgroups(gids []uint32) error
	Setresgid(gid uint32) error
	Setresuid(uid uint32) error
	Seccomp(program []byte, flags uint32) error
	Setrlimit(resource int, soft, hard uint64) error
	// WriteProc writes a file of the host's procfs, by its path below /proc.
	WriteProc(path, value string) error
}

// Label sets the AppArmor profile and SELinux label that the next exec takes on.
func Label(k Kernel, c *initconf.Config) error {
	if c.AppArmor != "" {
		value := "exec " + c.AppArmor
		// The LSM's own directory is there from Linux 5.8; the shared file may belong
		// to another LSM.
		err := k.WriteProc("self/attr/apparmor/exec", value)
		if kernel.Errno(err) == syscall.ENOENT {
			err = k.WriteProc("self/attr/exec", value)
		}
		if err != nil {
			return &fs.PathError{Op: "apparmor", Path: c.AppArmor, Err: err}
		}
	}
	if c.SELinux != "" {
		if err := k.WriteProc("self/attr/exec", c.SELinux); err != nil {
			return &fs.PathError{Op: "selinux", Path: c.SELinux, Err: err}
		}
	}
	return nil
}

// Limits sets the resource limits. EPERM means a hard limit above the present one.
func Limits(k Kernel, limits []initconf.Rlimit) error {
	for _, l := range limits {
		if err := k.Setrlimit(int(l.Resource), l.Soft, l.Hard); err != nil {
			return &fs.PathError{Op: "rlimit", Path: limitName(l.Resource), Err: err}
		}
	}
	return nil
}

var limitNames = [...]string{
	"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS",
	"LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
}

func limitName(n uint32) string {
	if int(n) < len(limitNames) {
		return "RLIMIT_" + limitNames[n]
	}
	return "unknown"
}

// NoNewPrivs sets no_new_privs: from then on no exec gains anything.
func NoNewPrivs(k Kernel) error { return step("no_new_privs", k.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0)) }

// Seccomp loads the filter. Without no_new_privs that takes CAP_SYS_ADMIN.
func Seccomp(k Kernel, c *initconf.Config) error {
	if len(c.Seccomp) == 0 {
		return nil
	}
	return step("seccomp", k.Seccomp(c.Seccomp, c.SeccompFlags))
}

// Become drops the bounding set to what is planned, takes on the user and groups, and
// then the planned sets. keepcaps carries the permitted set over the change of uid. An
// empty inheritable set is the plan's business (CVE-2022-29162).
func Become(k Kernel, c *initconf.Config) error {
	if err := dropBounding(k, c.Capabilities.Bounding); err != nil {
		return err
	}
	if err := k.Prctl(unix.PR_SET_KEEPCAPS, 1, 0); err != nil {
		return step("keepcaps", err)
	}
	if err := k.Setgroups(c.Gids); err != nil {
		return step("setgroups", err)
	}
	if err := k.Setresgid(c.GID); err != nil {
		return step("setgid", err)
	}
	if err := k.Setresuid(c.UID); err != nil {
		return step("setuid", err)
	}
	if err := k.Prctl(unix.PR_SET_KEEPCAPS, 0, 0); err != nil {
		return step("keepcaps", err)
	}
	s := c.Capabilities
	if err := k.Capset(s.Effective, s.Permitted, s.Inheritable); err != nil {
		return step("capset", err)
	}
	return raiseAmbient(k, s.Ambient)
}

// dropBounding asks the kernel for one capability after the other until it says that
// there are no more (EINVAL).
func dropBounding(k Kernel, keep uint64) error {
	for n := range 64 {
		if keep&(1<<n) != 0 {
			continue
		}
		err := k.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0)
		if kernel.Errno(err) == syscall.EINVAL {
			return nil
		}
		if err != nil {
			return step("bounding set", err)
		}
	}
	return nil
}

func raiseAmbient(k Kernel, set uint64) error {
	if err := k.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil {
		return step("ambient set", err)
	}
	for n := range 64 {
		if set&(1<<n) == 0 {
			continue
		}
		if err := k.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n)); err != nil {
			return step("ambient set", err)
		}
	}
	return nil
}

func step(name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: name, Err: err}
}
