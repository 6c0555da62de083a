package seccomp

import (
	"math/rand/v2"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// generator makes random profiles and calls that have a good chance to meet.
type generator struct{ *rand.Rand }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

var someNames = []string{
	"read", "write", "open", "close", "socket", "connect", "accept4", "clone", "clone3", "personality", "ioctl", "mmap2",
	"semop", "semget", "shmat", "msgrcv", "setxattrat", "set_tls", "execve", "rt_sigreturn", "socketcall", "ipc", "no_such_call",
	"uretprobe", "io_uring_setup", "preadv2", "cacheflush", "getpid", "openat2", "mseal", "ptrace",
}

func (g generator) value() uint64 {
	return pick(g, 0, 1, 2, 3, 0xffff, 0x10000, 0xffffffff, 0x100000000, 0x100000001, 0xffffffff00000000,
		^uint64(0), 0xfffffffffffffffe, 0x7e020000, uint64(g.IntN(8)), g.Uint64())
}

func (g generator) action() (specs.LinuxSeccompAction, *uint) {
	a := pick(g, specs.ActAllow, specs.ActAllow, specs.ActErrno, specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActTrap, specs.ActTrace, specs.ActLog)
	if (a == specs.ActErrno || a == specs.ActTrace) && g.IntN(2) == 0 {
		e := uint(pick(g, 1, 38, 13, 0, 4095))
		return a, &e
	}
	return a, nil
}

func (g generator) profile() *specs.LinuxSeccomp {
	s := &specs.LinuxSeccomp{}
	s.DefaultAction, s.DefaultErrnoRet = g.action()
	for _, a := range []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM, specs.ArchS390X} {
		if g.IntN(3) > 0 {
			s.Architectures = append(s.Architectures, a)
		}
	}
	for range g.IntN(20) {
		var c specs.LinuxSyscall
		c.Action, c.ErrnoRet = g.action()
		for range 1 + g.IntN(3) {
			c.Names = append(c.Names, pick(g, someNames...))
		}
		if g.IntN(3) == 0 {
			for range g.IntN(4) {
				c.Args = append(c.Args, specs.LinuxSeccompArg{
					Index: uint(pick(g, 0, 0, 1, 2, 5)), Value: g.value(), ValueTwo: g.value(),
					Op: pick(g, specs.OpEqualTo, specs.OpEqualTo, specs.OpMaskedEqual, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterThan, specs.OpGreaterEqual),
				})
			}
		}
		s.Syscalls = append(s.Syscalls, c)
	}
	if g.IntN(8) == 0 { // a set longer than a short jump
		for i := range 300 {
			s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{"socket"}, Action: specs.ActAllow,
				Args: []specs.LinuxSeccompArg{{Index: 0, Value: uint64(2 * i), Op: specs.OpEqualTo}}})
		}
	}
	return s
}

func (g generator) call(s *specs.LinuxSeccomp) data {
	d := data{arch: pick[uint32](g, 0xc000003e, 0xc000003e, 0x40000003, 0xc00000b7, 0x40000028, 0x80000016)}
	words32 := false
	for _, a := range abis {
		if a.audit != d.arch {
			continue
		}
		words32 = a.words32
		if n, ok := a.table[pick(g, someNames...)]; ok {
			d.nr = uint32(n) + a.base
		}
	}
	switch g.IntN(10) {
	case 0:
		d.nr = pick(g, ^uint32(0), x32Bit, x32Bit+1, x32Bit-1, ^uint32(0)-1, 0x80000000, 0xf0005, 0xf0000, 0xeffff, 500, g.Uint32())
	case 1:
		d.nr ^= x32Bit
	case 2:
		d.nr += pick[uint32](g, 1, ^uint32(0), 2)
	}
	for i := range d.args {
		d.args[i] = g.value()
		if len(s.Syscalls) > 0 && g.IntN(2) == 0 {
			if c := pick(g, s.Syscalls...); len(c.Args) > 0 {
				x := pick(g, c.Args...)
				d.args[i] = pick(g, x.Value, x.ValueTwo, x.Value+1, x.Value-1)
			}
		}
		if words32 {
			d.args[i] &= 0xffffffff // as the kernel hands them over
		}
	}
	return d
}

func check(t *testing.T, seed uint64, calls int) {
	t.Helper()
	g := generator{rand.New(rand.NewPCG(seed, seed^0x5eed))}
	goarch := pick(g, "amd64", "amd64", "arm64")
	s := g.profile()
	prog, _, err := Compile(s, goarch)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for range calls {
		d := g.call(s)
		got, _ := run(t, prog, d)
		if want := evaluate(s, goarch, d); got != want {
			t.Fatalf("seed %d, %s: %+v gives %s, the profile says %s\n%+v", seed, goarch, d, retName(got), retName(want), s)
		}
	}
}

// TestRandomProfiles is the fuzz target over fixed seeds, in every run of the suite.
func TestRandomProfiles(t *testing.T) {
	n := uint64(1000)
	if testing.Short() {
		n = 200
	}
	for seed := range n {
		check(t, seed, 60)
	}
}

func FuzzCompile(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { check(t, seed, 40) })
}
