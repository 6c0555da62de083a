package spec

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var seccompActions = []specs.LinuxSeccompAction{
	specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno, specs.ActTrace, specs.ActAllow, specs.ActLog,
}

var seccompOperators = []specs.LinuxSeccompOperator{
	specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual,
}

// seccomp checks the words of a profile; oci/seccomp gives them their meaning and judges the rest.
func (c *checker) seccomp(s *specs.LinuxSeccomp) {
	if s == nil {
		return
	}
	c.action(s.DefaultAction, s.DefaultErrnoRet, "linux.seccomp.defaultAction")
	if s.ListenerPath != "" || s.ListenerMetadata != "" {
		c.unsupported("linux.seccomp.listenerPath")
	}
	for i, a := range s.Architectures {
		if !strings.HasPrefix(string(a), "SCMP_ARCH_") {
			c.invalid("linux.seccomp.architectures[%d]: unknown %q", i, a)
		}
	}
	for i := range s.Syscalls {
		call := &s.Syscalls[i]
		c.action(call.Action, call.ErrnoRet, "linux.seccomp.syscalls[%d].action", i)
		if len(call.Names) == 0 {
			c.invalid("linux.seccomp.syscalls[%d].names: empty", i)
		}
		for j, a := range call.Args {
			if a.Index > 5 {
				c.invalid("linux.seccomp.syscalls[%d].args[%d].index: %d", i, j, a.Index)
			}
			if !slices.Contains(seccompOperators, a.Op) {
				c.invalid("linux.seccomp.syscalls[%d].args[%d].op: unknown %q", i, j, a.Op)
			}
		}
	}
}

func (c *checker) action(a specs.LinuxSeccompAction, errno *uint, field string, args ...any) {
	switch {
	case a == specs.ActNotify:
		c.unsupported(field+": %q", append(args, a)...)
	case !slices.Contains(seccompActions, a):
		c.invalid(field+": unknown %q", append(args, a)...)
	case errno != nil && a != specs.ActErrno && a != specs.ActTrace:
		c.invalid(field+": errnoRet with %q", append(args, a)...)
	}
}
