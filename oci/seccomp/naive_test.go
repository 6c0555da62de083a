package seccomp

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// evaluate is what a profile means, said without compiling: it looks the number's name
// up and walks the profile. It shares the tables with the compiler and nothing else.
func evaluate(s *specs.LinuxSeccomp, goarch string, d data) uint32 {
	a, n, bad := find(s, goarch, d)
	if bad {
		return badArch
	}
	fallback := naiveAction(s.DefaultAction, s.DefaultErrnoRet)
	if a == nil {
		return fallback
	}
	// The wider rule wins, then the earlier one.
	type candidate struct {
		args []specs.LinuxSeccompArg
		ret  uint32
	}
	var rules []candidate
	newest := -1
	for _, c := range s.Syscalls {
		r := naiveAction(c.Action, c.ErrnoRet)
		for _, name := range c.Names {
			if nr, ok := a.table[name]; ok && uint32(nr) < a.limit {
				newest = max(newest, nr)
			}
			if r == fallback {
				continue
			}
			args := [][]specs.LinuxSeccompArg{c.Args}
			if repeats(c.Args) {
				args = nil
				for _, x := range c.Args {
					args = append(args, []specs.LinuxSeccompArg{x})
				}
			}
			for _, x := range args {
				x = naiveSort(x, a.words32)
				if nr, ok := a.table[name]; ok && uint32(nr) == n {
					rules = append(rules, candidate{x, r})
				}
				m, ok := muxes[name]
				if ok && a.muxed && uint32(a.table[m.call]) == n && (len(x) == 0 || !slices.Contains([]specs.LinuxSeccompAction{specs.ActAllow, specs.ActLog, specs.ActTrace}, c.Action)) {
					rules = append(rules, candidate{[]specs.LinuxSeccompArg{{Op: specs.OpMaskedEqual, Value: m.mask & 0xffffffff, ValueTwo: m.n}}, r})
				}
			}
		}
	}
	wider := func(a, b []specs.LinuxSeccompArg) bool { return len(a) <= len(b) && slices.Equal(a, b[:len(a)]) }
	for i, r := range rules {
		beaten := slices.ContainsFunc(rules[:i], func(o candidate) bool { return wider(o.args, r.args) }) ||
			slices.ContainsFunc(rules[i+1:], func(o candidate) bool { return wider(o.args, r.args) && !wider(r.args, o.args) })
		if !beaten && !slices.ContainsFunc(r.args, func(x specs.LinuxSeccompArg) bool { return !holds(x, d.args[x.Index]) }) {
			return r.ret
		}
	}
	permits := slices.Contains([]specs.LinuxSeccompAction{specs.ActAllow, specs.ActLog, specs.ActTrace}, s.DefaultAction)
	if newest >= 0 && int64(n) > int64(newest) && (n < a.limit || a.limit == ^uint32(0)) && !permits {
		return retErrno | uint32(unix.ENOSYS)
	}
	return fallback
}

// find gives the ABI and the number in its table; nil and false for a call without one.
func find(s *specs.LinuxSeccomp, goarch string, d data) (a *abi, n uint32, bad bool) {
	has := func(a specs.Arch) bool { return slices.Contains(s.Architectures, a) }
	switch {
	case goarch == "amd64" && d.arch == 0xc000003e && d.nr == 0xffffffff:
		return nil, 0, false
	case goarch == "amd64" && d.arch == 0xc000003e && d.nr&x32Bit == 0 && d.nr < x32Bit:
		return abis[specs.ArchX86_64], d.nr, false
	case goarch == "amd64" && d.arch == 0xc000003e && has(specs.ArchX32):
		return abis[specs.ArchX32], d.nr - x32Bit, false
	case goarch == "amd64" && d.arch == 0x40000003 && has(specs.ArchX86):
		return abis[specs.ArchX86], d.nr, false
	case goarch == "arm64" && d.arch == 0xc00000b7:
		return abis[specs.ArchAARCH64], d.nr, false
	case goarch == "arm64" && d.arch == 0x40000028 && has(specs.ArchARM):
		return abis[specs.ArchARM], d.nr, false
	}
	return nil, 0, true
}

func repeats(args []specs.LinuxSeccompArg) bool {
	var n [6]int
	for _, a := range args {
		n[a.Index]++
	}
	return slices.Max(n[:]) > 1
}

// naiveSort orders arguments and puts them into one form, so that equal ones are equal.
func naiveSort(in []specs.LinuxSeccompArg, words32 bool) []specs.LinuxSeccompArg {
	out := slices.Clone(in)
	slices.SortStableFunc(out, func(a, b specs.LinuxSeccompArg) int { return int(a.Index) - int(b.Index) })
	for i := range out {
		a := &out[i]
		full := a.Op == specs.OpMaskedEqual && a.Value == ^uint64(0)
		switch {
		case full:
			a.Op, a.Value, a.ValueTwo = specs.OpEqualTo, a.ValueTwo, 0
		case a.Op == specs.OpMaskedEqual:
			a.ValueTwo &= a.Value
			if words32 {
				a.Value, a.ValueTwo = a.Value&0xffffffff, a.ValueTwo&0xffffffff
			}
			continue
		default:
			a.ValueTwo = 0
		}
		if words32 && a.Value>>32 == 0xffffffff {
			a.Value &= 0xffffffff
		}
	}
	return out
}

func holds(a specs.LinuxSeccompArg, v uint64) bool {
	switch a.Op {
	case specs.OpEqualTo:
		return v == a.Value
	case specs.OpNotEqual:
		return v != a.Value
	case specs.OpLessThan:
		return v < a.Value
	case specs.OpLessEqual:
		return v <= a.Value
	case specs.OpGreaterThan:
		return v > a.Value
	case specs.OpGreaterEqual:
		return v >= a.Value
	case specs.OpMaskedEqual:
		return v&a.Value == a.ValueTwo
	}
	panic(a.Op)
}

func naiveAction(a specs.LinuxSeccompAction, errno *uint) uint32 {
	e := uint32(1)
	if errno != nil {
		e = uint32(*errno)
	}
	return map[specs.LinuxSeccompAction]uint32{
		specs.ActKill: 0, specs.ActKillThread: 0, specs.ActKillProcess: 0x80000000, specs.ActTrap: 0x30000,
		specs.ActErrno: 0x50000 | e, specs.ActTrace: 0x7ff00000 | e, specs.ActLog: 0x7ffc0000, specs.ActAllow: 0x7fff0000,
	}[a]
}
