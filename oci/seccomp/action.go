package seccomp

import (
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/spec"
)

// Return values of a filter (seccomp(2)); the lower 16 bits are data.
const (
	retKillProcess = 0x80000000
	retKillThread  = 0x00000000
	retTrap        = 0x00030000
	retErrno       = 0x00050000
	retTrace       = 0x7ff00000
	retLog         = 0x7ffc0000
	retAllow       = 0x7fff0000
	retActionMask  = 0xffff0000
)

// badArch is what a call of an architecture that is not in the profile gets: libseccomp's
// default of SCMP_FLTATR_ACT_BADARCH.
const badArch = retKillThread

// maxErrno is the kernel's MAX_ERRNO: it cuts larger values silently.
const maxErrno = 4095

// action gives the return value of a profile's action. errno and trace carry errnoRet,
// EPERM by default; on any other action errnoRet is an error, as the runtime-spec demands.
func action(a specs.LinuxSeccompAction, errnoRet *uint) (uint32, error) {
	data := uint32(unix.EPERM)
	if errnoRet != nil {
		switch {
		case a != specs.ActErrno && a != specs.ActTrace:
			return 0, fmt.Errorf("errnoRet with %s: %w", a, spec.ErrInvalid)
		case a == specs.ActErrno && *errnoRet > maxErrno, *errnoRet > 0xffff:
			return 0, fmt.Errorf("errnoRet %d is out of range: %w", *errnoRet, spec.ErrInvalid)
		}
		data = uint32(*errnoRet)
	}
	switch a {
	case specs.ActKill, specs.ActKillThread:
		return retKillThread, nil
	case specs.ActKillProcess:
		return retKillProcess, nil
	case specs.ActTrap:
		return retTrap, nil
	case specs.ActErrno:
		return retErrno | data, nil
	case specs.ActTrace:
		return retTrace | data, nil
	case specs.ActLog:
		return retLog, nil
	case specs.ActAllow:
		return retAllow, nil
	case specs.ActNotify:
		return 0, fmt.Errorf("action %s: %w", a, spec.ErrUnsupported)
	}
	return 0, fmt.Errorf("unknown action %q: %w", a, spec.ErrInvalid)
}

// permissive tells actions that let the call happen, perhaps after telling someone.
func permissive(ret uint32) bool {
	switch ret & retActionMask {
	case retAllow, retLog, retTrace:
		return true
	}
	return false
}

// filterFlags gives SECCOMP_FILTER_FLAG_* of a profile. With no flags at all the
// speculative-store mitigation is left off, as the field's runtimes do; an empty list
// means none. WAIT_KILLABLE_RECV concerns notifications only and the kernel refuses it
// without a listener, so it is dropped.
func filterFlags(flags []specs.LinuxSeccompFlag) (uint32, error) {
	if flags == nil {
		return unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, nil
	}
	var out uint32
	for i, f := range flags {
		switch f {
		case "SECCOMP_FILTER_FLAG_TSYNC":
			out |= unix.SECCOMP_FILTER_FLAG_TSYNC
		case specs.LinuxSeccompFlagLog:
			out |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			out |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case specs.LinuxSeccompFlagWaitKillableRecv:
		default:
			return 0, fmt.Errorf("flags[%d]: unknown %q: %w", i, f, spec.ErrInvalid)
		}
	}
	return out, nil
}

// CheckActions refuses a profile with an action that is not among available, the words of
// /proc/sys/kernel/seccomp/actions_avail; nil means that all are. Without this the
// kernel would take an unknown action for "kill".
func CheckActions(s *specs.LinuxSeccomp, available []string) error {
	if available == nil {
		return nil
	}
	if !slices.Contains(available, kernelActions[s.DefaultAction]) {
		return fmt.Errorf("defaultAction: this kernel has no %s: %w", s.DefaultAction, spec.ErrUnsupported)
	}
	for i := range s.Syscalls {
		if a := s.Syscalls[i].Action; !slices.Contains(available, kernelActions[a]) {
			return fmt.Errorf("syscalls[%d].action: this kernel has no %s: %w", i, a, spec.ErrUnsupported)
		}
	}
	return nil
}

var kernelActions = map[specs.LinuxSeccompAction]string{
	specs.ActKill: "kill_thread", specs.ActKillThread: "kill_thread", specs.ActKillProcess: "kill_process",
	specs.ActTrap: "trap", specs.ActErrno: "errno", specs.ActTrace: "trace", specs.ActLog: "log", specs.ActAllow: "allow",
	specs.ActNotify: "user_notif",
}
