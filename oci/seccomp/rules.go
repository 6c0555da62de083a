package seccomp

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/oci/spec"
)

// operator is a comparison after reduction: equality carries a mask.
type operator uint8

const (
	opEqual operator = iota // (arg & mask) == value
	opNotEqual
	opGreater
	opGreaterEqual
	opLess
	opLessEqual
)

// cond is one comparison of one argument.
type cond struct {
	arg         uint8
	op          operator
	mask, value uint64 // mask matters to opEqual alone
}

// rule returns ret if all its conditions hold; none means always.
type rule struct {
	conds []cond
	ret   uint32
}

// entry is one element of a profile's syscalls, resolved but for numbers.
type entry struct {
	names []string
	rules []rule
}

// parseEntry resolves profile.syscalls[i]. Conditions on different arguments are ANDed.
// Where two of them look at the same argument the entry falls apart into one rule per
// condition, ORed: the field's runtimes have done so since before libseccomp could AND
// them, and profiles are written for it.
func parseEntry(c *specs.LinuxSyscall) (entry, error) {
	ret, err := action(c.Action, c.ErrnoRet)
	if err != nil {
		return entry{}, err
	}
	if len(c.Names) == 0 {
		return entry{}, fmt.Errorf("names: empty: %w", spec.ErrInvalid)
	}
	conds := make([]cond, 0, len(c.Args))
	var seen [6]bool
	repeated := false
	for i, a := range c.Args {
		k, err := parseCond(a)
		if err != nil {
			return entry{}, fmt.Errorf("args[%d].%w", i, err)
		}
		repeated = repeated || seen[k.arg]
		seen[k.arg] = true
		conds = append(conds, k)
	}
	e := entry{names: c.Names}
	if !repeated {
		slices.SortStableFunc(conds, func(a, b cond) int { return cmp.Compare(a.arg, b.arg) })
		e.rules = []rule{{conds: conds, ret: ret}}
		return e, nil
	}
	for _, k := range conds {
		e.rules = append(e.rules, rule{conds: []cond{k}, ret: ret})
	}
	return e, nil
}

func parseCond(a specs.LinuxSeccompArg) (cond, error) {
	if a.Index > 5 {
		return cond{}, fmt.Errorf("index: %d is not one of six arguments: %w", a.Index, spec.ErrInvalid)
	}
	k := cond{arg: uint8(a.Index), value: a.Value, mask: ^uint64(0)}
	switch a.Op {
	case specs.OpEqualTo:
		k.op = opEqual
	case specs.OpMaskedEqual:
		// "valueTwo" outside the mask is cut off, as libseccomp does.
		k.op, k.mask, k.value = opEqual, a.Value, a.ValueTwo&a.Value
	case specs.OpNotEqual:
		k.op = opNotEqual
	case specs.OpGreaterThan:
		k.op = opGreater
	case specs.OpGreaterEqual:
		k.op = opGreaterEqual
	case specs.OpLessThan:
		k.op = opLess
	case specs.OpLessEqual:
		k.op = opLessEqual
	default:
		return cond{}, fmt.Errorf("op: unknown %q: %w", a.Op, spec.ErrInvalid)
	}
	return k, nil
}

// narrow adapts a condition to arguments of 32 bits: a negative number that was written
// with 64 bits is cut, and so are masks.
func (k cond) narrow() cond {
	if k.op == opEqual && k.mask != ^uint64(0) {
		k.mask &= 0xffffffff
		k.value &= 0xffffffff
	} else if k.value>>32 == 0xffffffff {
		k.value &= 0xffffffff
	}
	return k
}

// covers tells whether every call that b matches is matched by a through a's conditions
// being the first of b's: such an a is the wider rule, and libseccomp lets it win
// whichever comes first.
func (a rule) covers(b rule) bool {
	return len(a.conds) <= len(b.conds) && slices.Equal(a.conds, b.conds[:len(a.conds)])
}

// addRule merges r into the rules of one call: the wider rule wins over a narrower one
// in its scope, the earlier of two that are equally wide; else the list is tried in order.
func addRule(rules []rule, r rule) []rule {
	for _, old := range rules {
		if old.covers(r) {
			return rules
		}
	}
	rules = slices.DeleteFunc(rules, func(old rule) bool { return r.covers(old) })
	return append(rules, r)
}
