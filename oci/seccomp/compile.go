package seccomp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/spec"
)

// MaxInstructions is the kernel's BPF_MAXINSNS.
const MaxInstructions = 4096

// maxConditional bounds names times rules with conditions. Each that stays takes an
// instruction or more, so beyond this a filter is too long unless most are repeated; and
// they are compared with each other, so a hostile profile must not bring millions.
const maxConditional = 2 * MaxInstructions

// Compile turns a profile into a filter for a kernel of the GOARCH arch ("" is this
// one). prog has 8 bytes an instruction (struct sock_filter, little-endian as both
// supported machines are); flags are SECCOMP_FILTER_FLAG_*. A nil profile gives no
// program. Errors name the field inside the profile and wrap spec.ErrInvalid or
// spec.ErrUnsupported.
//
// The program means what libseccomp's of the same profile means in the field's
// runtimes: the native architecture is always there, calls of architectures that the
// profile does not name kill the thread, names that a table does not know are passed
// over, a rule with the default action is no rule. Calls newer than the newest one that
// the profile names get ENOSYS and not a refusal, so that C libraries fall back (runc
// since 1.0-rc93).
func Compile(s *specs.LinuxSeccomp, arch string) (prog []byte, flags uint32, err error) {
	if s == nil {
		return nil, 0, nil
	}
	c, err := parse(s, arch)
	if err != nil {
		return nil, 0, err
	}
	if flags, err = filterFlags(s.Flags); err != nil {
		return nil, 0, err
	}
	insns := c.program()
	if len(insns) > MaxInstructions {
		return nil, 0, fmt.Errorf("the filter has %d instructions, the kernel takes %d: %w", len(insns), MaxInstructions, spec.ErrInvalid)
	}
	prog = make([]byte, 0, 8*len(insns))
	for _, i := range insns {
		prog = binary.LittleEndian.AppendUint16(prog, i.code)
		prog = append(prog, i.jt, i.jf)
		prog = binary.LittleEndian.AppendUint32(prog, i.k)
	}
	return prog, flags, nil
}

// compiler is a profile with everything resolved but system-call numbers.
type compiler struct {
	abis     []*abi
	fallback uint32 // the default action
	entries  []entry
}

func parse(s *specs.LinuxSeccomp, arch string) (*compiler, error) {
	abis, err := resolveArchs(s.Architectures, arch)
	if err != nil {
		return nil, err
	}
	if s.ListenerPath != "" || s.ListenerMetadata != "" {
		return nil, fmt.Errorf("listenerPath: %w", spec.ErrUnsupported)
	}
	c := &compiler{abis: abis, entries: make([]entry, 0, len(s.Syscalls))}
	if c.fallback, err = action(s.DefaultAction, s.DefaultErrnoRet); err != nil {
		return nil, fmt.Errorf("defaultAction: %w", err)
	}
	var all []error
	conditional := 0
	for i := range s.Syscalls {
		e, err := parseEntry(&s.Syscalls[i])
		if err != nil {
			all = append(all, fmt.Errorf("syscalls[%d]: %w", i, err))
			continue
		}
		c.entries = append(c.entries, e)
		if len(s.Syscalls[i].Args) > 0 {
			conditional += len(e.names) * len(e.rules)
		}
	}
	if conditional > maxConditional {
		all = append(all, fmt.Errorf("syscalls: %d rules with conditions, at most %d: %w", conditional, maxConditional, spec.ErrInvalid))
	}
	return c, errors.Join(all...)
}

// numbers gives the rules by system-call number of one ABI (without its base), and the
// highest number that the profile names in any way, -1 for none.
func (c *compiler) numbers(a *abi) (rules map[uint32][]rule, newest int64) {
	rules, newest = make(map[uint32][]rule, len(a.table)), -1
	for _, e := range c.entries {
		for _, name := range e.names {
			n, ok := a.table[name]
			if ok && uint32(n) < a.limit {
				newest = max(newest, int64(n))
			}
			if _, muxed := muxes[name]; !ok && !muxed {
				continue
			}
			for _, r := range e.rules {
				if r.ret == c.fallback {
					continue
				}
				if a.words32 {
					r.conds = narrowAll(r.conds)
				}
				if ok {
					rules[uint32(n)] = addRule(rules[uint32(n)], r)
				}
				c.addMuxed(a, rules, name, r)
			}
		}
	}
	return rules, newest
}

func narrowAll(conds []cond) []cond {
	out := make([]cond, len(conds))
	for i, k := range conds {
		out[i] = k.narrow()
	}
	return out
}

// addMuxed adds the way through socketcall or ipc. The real arguments lie behind a
// pointer there, so a conditional rule can only be carried over whole, and is where
// that makes the filter stricter.
func (c *compiler) addMuxed(a *abi, rules map[uint32][]rule, name string, r rule) {
	m, ok := muxes[name]
	if !a.muxed || !ok || len(r.conds) > 0 && permissive(r.ret) {
		return
	}
	n := uint32(a.table[m.call])
	k := cond{op: opEqual, mask: m.mask, value: m.n}
	rules[n] = addRule(rules[n], rule{conds: []cond{k.narrow()}, ret: r.ret})
}

// segment is what happens to the numbers from first up to the next segment's first: the
// rules in order, else ret.
type segment struct {
	first uint32
	rules []rule
	ret   uint32
}

// segments covers the whole number space of one AUDIT_ARCH, ascending.
func (c *compiler) segments(group []*abi) []segment {
	var out []segment
	add := func(first uint32, rules []rule, ret uint32) {
		if len(rules) > 0 && len(rules[0].conds) == 0 {
			rules, ret = nil, rules[0].ret
		}
		if n := len(out); n > 0 && out[n-1].first == first {
			out = out[:n-1]
		}
		if n := len(out); n > 0 && out[n-1].rules == nil && rules == nil && out[n-1].ret == ret {
			return
		}
		out = append(out, segment{first, rules, ret})
	}
	for _, a := range group {
		rules, newest := c.numbers(a)
		add(a.base, nil, c.fallback)
		stub := newest >= 0 && !permissive(c.fallback) && c.fallback != retErrno|uint32(unix.ENOSYS)
		above := func() {
			if stub {
				add(a.base+uint32(newest)+1, nil, retErrno|uint32(unix.ENOSYS))
				stub = false
			}
		}
		for _, n := range slices.Sorted(maps.Keys(rules)) {
			if n >= a.limit {
				above()
				add(a.limit, nil, c.fallback)
			}
			add(a.base+n, rules[n], c.fallback)
			add(a.base+n+1, nil, c.fallback)
		}
		above()
		if a.limit < ^uint32(0) && out[len(out)-1].first < a.limit {
			add(a.limit, nil, c.fallback)
		}
	}
	if group[0].limit == x32Bit {
		if len(group) == 1 {
			add(x32Bit, nil, badArch)
		}
		// -1 is a call that a tracer has cancelled, not one of x32.
		add(^uint32(0), nil, c.fallback)
	}
	return out
}
