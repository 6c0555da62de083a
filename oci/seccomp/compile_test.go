package seccomp

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/spec"
)

var update = flag.Bool("update", false, "write golden files")

const (
	auditX86_64 = 0xc000003e
	auditI386   = 0x40000003
	auditARM64  = 0xc00000b7
	auditARM    = 0x40000028
)

func allow(names ...string) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: names, Action: specs.ActAllow}
}

func arg(i uint, op specs.LinuxSeccompOperator, v, two uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: i, Op: op, Value: v, ValueTwo: two}
}

// dockerCaps is the field's default capability set.
var dockerCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

func TestDecisions(t *testing.T) {
	enosys := uint32(retErrno | 38)
	all := []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64}
	base := specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: all, Syscalls: []specs.LinuxSyscall{
		allow("read", "write", "nonsense", "getpid"),
		{Names: []string{"personality"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg(0, specs.OpEqualTo, 0xffffffff, 0)}},
		{Names: []string{"clone"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg(0, specs.OpMaskedEqual, 0x7e020000, 0)}},
		{Names: []string{"fcntl"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg(0, specs.OpLessThan, 3, 0), arg(1, specs.OpEqualTo, 1, 0)}},
		{Names: []string{"lseek"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg(1, specs.OpGreaterThan, 1<<32, 0), arg(1, specs.OpEqualTo, 7, 0)}},
		{Names: []string{"kill"}, Action: specs.ActKillProcess},
		{Names: []string{"kill"}, Action: specs.ActAllow},
		{Names: []string{"setxattrat"}, Action: specs.ActErrno},
	}}
	only := base
	only.Architectures = nil
	for _, c := range []struct {
		name    string
		profile specs.LinuxSeccomp
		goarch  string
		call    data
		want    uint32
	}{
		{"named call", base, "amd64", data{arch: auditX86_64, nr: 0}, retAllow},
		{"other call", base, "amd64", data{arch: auditX86_64, nr: 2}, retErrno | 1},
		{"newest known", base, "amd64", data{arch: auditX86_64, nr: 463}, retErrno | 1},
		{"newer than the profile", base, "amd64", data{arch: auditX86_64, nr: 464}, enosys},
		{"cancelled by a tracer", base, "amd64", data{arch: auditX86_64, nr: ^uint32(0)}, retErrno | 1},
		{"i386 has its own numbers", base, "amd64", data{arch: auditI386, nr: 3}, retAllow},
		{"i386 read is not x86_64 read", base, "amd64", data{arch: auditI386, nr: 0}, retErrno | 1},
		{"x32", base, "amd64", data{arch: auditX86_64, nr: x32Bit}, retAllow},
		{"x32 not in the profile", only, "amd64", data{arch: auditX86_64, nr: x32Bit}, badArch},
		{"i386 not in the profile", only, "amd64", data{arch: auditI386, nr: 3}, badArch},
		{"foreign architecture", base, "amd64", data{arch: auditARM64, nr: 63}, badArch},
		{"arm64", base, "arm64", data{arch: auditARM64, nr: 63}, retAllow},
		{"arm on arm64", base, "arm64", data{arch: auditARM, nr: 3}, retAllow},
		{"arm private calls are not newer", base, "arm64", data{arch: auditARM, nr: 0xf0005}, retErrno | 1},
		{"equal", base, "amd64", data{arch: auditX86_64, nr: 135, args: [6]uint64{0xffffffff}}, retAllow},
		{"equal looks at 64 bits", base, "amd64", data{arch: auditX86_64, nr: 135, args: [6]uint64{0x1ffffffff}}, retErrno | 1},
		{"masked", base, "amd64", data{arch: auditX86_64, nr: 56, args: [6]uint64{0x1200011}}, retAllow},
		{"masked, new user namespace", base, "amd64", data{arch: auditX86_64, nr: 56, args: [6]uint64{0x10000000}}, retErrno | 1},
		{"both hold", base, "amd64", data{arch: auditX86_64, nr: 72, args: [6]uint64{2, 1}}, retAllow},
		{"one of two holds", base, "amd64", data{arch: auditX86_64, nr: 72, args: [6]uint64{2, 2}}, retErrno | 1},
		{"repeated argument is or", base, "amd64", data{arch: auditX86_64, nr: 8, args: [6]uint64{0, 7}}, retAllow},
		{"repeated argument, other half", base, "amd64", data{arch: auditX86_64, nr: 8, args: [6]uint64{0, 1<<32 + 1}}, retAllow},
		{"repeated argument, neither", base, "amd64", data{arch: auditX86_64, nr: 8, args: [6]uint64{0, 1 << 32}}, retErrno | 1},
		{"the first unconditional rule stays", base, "amd64", data{arch: auditX86_64, nr: 62}, retKillProcess},
	} {
		t.Run(c.name, func(t *testing.T) {
			prog, _, err := Compile(&c.profile, c.goarch)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := run(t, prog, c.call); got != c.want {
				t.Errorf("got %s, want %s", retName(got), retName(c.want))
			}
			if got := evaluate(&c.profile, c.goarch, c.call); got != c.want {
				t.Errorf("the naive evaluator says %s, want %s", retName(got), retName(c.want))
			}
		})
	}
}

// A deny list must also hold for programs that reach the call through socketcall(2).
func TestMultiplexedCalls(t *testing.T) {
	deny := specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86}, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"socket", "semop"}, Action: specs.ActErrno},
	}}
	prog, _, err := Compile(&deny, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		nr   uint32
		arg  uint64
		want uint32
	}{{359, 0, retErrno | 1}, {102, 1, retErrno | 1}, {102, 2, retAllow}, {117, 1, retErrno | 1}, {117, 0x10001, retErrno | 1}, {117, 2, retAllow}} {
		if got, _ := run(t, prog, data{arch: auditI386, nr: c.nr, args: [6]uint64{c.arg}}); got != c.want {
			t.Errorf("i386 call %d(%#x): %s, want %s", c.nr, c.arg, retName(got), retName(c.want))
		}
	}
}

// A set of values is one block of code with short jumps over it, so it has a limit; both
// sides of the limit, and what lies behind the block, are tried.
func TestLongSets(t *testing.T) {
	for _, n := range []int{2, 249, 250, 251, 255, 256, 300} {
		s := specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
		for i := range n {
			s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{"socket"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg(0, specs.OpEqualTo, uint64(2*i), 0)}})
		}
		s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{"socket"}, Action: specs.ActLog, Args: []specs.LinuxSeccompArg{arg(1, specs.OpEqualTo, 7, 0)}})
		prog, _, err := Compile(&s, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range []uint64{0, 1, 2, 498, 500, 510, uint64(2*n - 2), uint64(2*n - 1), uint64(2 * n), 1 << 32, 1<<32 + 2, 2 << 32, 498 << 32, ^uint64(0)} {
			for _, second := range []uint64{7, 8} {
				d := data{arch: auditX86_64, nr: 41, args: [6]uint64{v, second}}
				got, _ := run(t, prog, d)
				if want := evaluate(&s, "amd64", d); got != want {
					t.Errorf("%d values, argument %#x, %d: %s, want %s", n, v, second, retName(got), retName(want))
				}
			}
		}
	}
}

func TestCompileErrors(t *testing.T) {
	big := uint(5000)
	one := uint(1)
	call := func(c specs.LinuxSyscall) specs.LinuxSeccomp {
		return specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{allow("read"), c}}
	}
	var huge []specs.LinuxSyscall
	for i := range 3000 {
		huge = append(huge, specs.LinuxSyscall{Names: []string{"ioctl"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg(1, specs.OpMaskedEqual, 0xffff, uint64(i))}})
	}
	for _, c := range []struct {
		name    string
		profile specs.LinuxSeccomp
		goarch  string
		kind    error
		text    string
	}{
		{"default action", specs.LinuxSeccomp{}, "", spec.ErrInvalid, `defaultAction: unknown action ""`},
		{"notify", call(specs.LinuxSyscall{Names: []string{"mount"}, Action: specs.ActNotify}), "", spec.ErrUnsupported, "syscalls[1]: action SCMP_ACT_NOTIFY"},
		{"listener", specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/x"}, "", spec.ErrUnsupported, "listenerPath"},
		{"operator", call(specs.LinuxSyscall{Names: []string{"a"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Op: "SCMP_CMP_X"}}}), "", spec.ErrInvalid, "syscalls[1]: args[0].op"},
		{"argument", call(specs.LinuxSyscall{Names: []string{"a"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 6}}}), "", spec.ErrInvalid, "syscalls[1]: args[0].index: 6"},
		{"no names", call(specs.LinuxSyscall{Action: specs.ActAllow}), "", spec.ErrInvalid, "syscalls[1]: names"},
		{"errno too large", call(specs.LinuxSyscall{Names: []string{"a"}, Action: specs.ActErrno, ErrnoRet: &big}), "", spec.ErrInvalid, "errnoRet 5000"},
		{"errno with allow", call(specs.LinuxSyscall{Names: []string{"a"}, Action: specs.ActAllow, ErrnoRet: &one}), "", spec.ErrInvalid, "errnoRet with SCMP_ACT_ALLOW"},
		{"architecture", specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_VAX"}}, "", spec.ErrInvalid, "architectures[0]"},
		{"flag", specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"X"}}, "", spec.ErrInvalid, "flags[0]"},
		{"machine", specs.LinuxSeccomp{DefaultAction: specs.ActAllow}, "s390x", spec.ErrUnsupported, "seccomp on s390x"},
		{"too long", specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: huge}, "amd64", spec.ErrInvalid, "the kernel takes 4096"},
	} {
		t.Run(c.name, func(t *testing.T) {
			prog, _, err := Compile(&c.profile, c.goarch)
			if !errors.Is(err, c.kind) || !strings.Contains(fmt.Sprint(err), c.text) || prog != nil {
				t.Errorf("got %d bytes, %v; want %q", len(prog), err, c.text)
			}
		})
	}
}

// Names times arguments can be far more than a profile's bytes.
func TestHostileProfile(t *testing.T) {
	var args []specs.LinuxSeccompArg
	for i := range 2000 {
		args = append(args, arg(1, specs.OpEqualTo, uint64(i), 0))
	}
	call := specs.LinuxSyscall{Names: slices.Repeat([]string{"ioctl"}, 50000), Action: specs.ActAllow, Args: args}
	s := specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{call}}
	if _, _, err := Compile(&s, "amd64"); !errors.Is(err, spec.ErrInvalid) || !strings.Contains(err.Error(), "100000000 rules") {
		t.Error(err)
	}
	// Within the bound an unconditional rule makes the others moot, however many they were.
	s.Syscalls[0].Names = []string{"ioctl"}
	s.Syscalls = append(s.Syscalls, allow("ioctl"))
	prog, _, err := Compile(&s, "amd64")
	if err != nil || len(prog) > 8*64 {
		t.Errorf("%d bytes, %v", len(prog), err)
	}
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		flags []specs.LinuxSeccompFlag
		want  uint32
	}{
		{nil, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{[]specs.LinuxSeccompFlag{}, 0},
		{[]specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"}, unix.SECCOMP_FILTER_FLAG_LOG | unix.SECCOMP_FILTER_FLAG_TSYNC},
		{[]specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"}, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	} {
		_, got, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: c.flags}, "amd64")
		if err != nil || got != c.want {
			t.Errorf("%v: %#x, %v; want %#x", c.flags, got, err, c.want)
		}
	}
}

func TestDefaultGolden(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the default profile is made for the running architecture; the listing is amd64's")
	}
	p, err := Default(withCaps(dockerCaps))
	if err != nil {
		t.Fatal(err)
	}
	prog, flags, err := Compile(p, "")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("flags %#x\n%s", flags, listing(prog))
	golden(t, "default-amd64.txt", got)

	_, steps := run(t, prog, data{arch: auditX86_64, nr: 232}) // epoll_wait
	if steps > 14 {
		t.Errorf("epoll_wait takes %d instructions", steps)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-update writes it):\n%s", path, d)
	}
}

func BenchmarkCompileDefault(b *testing.B) {
	p, err := Default(withCaps(dockerCaps))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Compile(p, ""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCacheHit(b *testing.B) {
	p, err := Default(withCaps(dockerCaps))
	if err != nil {
		b.Fatal(err)
	}
	c := NewCache(8)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := c.Compile(p, ""); err != nil {
			b.Fatal(err)
		}
	}
}
