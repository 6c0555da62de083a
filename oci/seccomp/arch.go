package seccomp

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/oci/spec"
)

// x32Bit marks the numbers of the x32 ABI, which shares AUDIT_ARCH_X86_64 (syscall(2),
// asm/unistd.h __X32_SYSCALL_BIT).
const x32Bit = 0x40000000

// abi is one system-call table inside the number space of one AUDIT_ARCH.
type abi struct {
	audit uint32
	base  uint32 // added to every number of the table
	table map[string]int
	// words32: the kernel hands over arguments of 32 bits, zero-extended.
	words32 bool
	// limit is the first number that belongs to something else: another ABI, or private
	// calls far above the table, which say nothing about the newest call a profile knows.
	limit uint32
	// muxed are the calls that programs may also reach through socketcall(2) or ipc(2).
	muxed bool
}

var abis = map[specs.Arch]*abi{
	specs.ArchX86_64:  {audit: uint32(arch.X86_64.ID), table: numbersOf(arch.X86_64), limit: x32Bit},
	specs.ArchX32:     {audit: uint32(arch.X32.ID), table: numbersOf(arch.X32), base: x32Bit, limit: ^uint32(0)},
	specs.ArchX86:     {audit: uint32(arch.I386.ID), table: numbersOf(arch.I386), words32: true, limit: ^uint32(0), muxed: true},
	specs.ArchAARCH64: {audit: uint32(arch.AARCH64.ID), table: numbersOf(arch.AARCH64), limit: ^uint32(0)},
	specs.ArchARM:     {audit: uint32(arch.ARM.ID), table: numbersOf(arch.ARM), words32: true, limit: 0xf0000},
}

// numbersOf inverts a table. x32 has some names twice: the number of x86_64, which the
// kernel no longer serves with the x32 bit, and x32's own from 512 on, which counts.
func numbersOf(a *arch.Info) map[string]int {
	m := make(map[string]int, len(a.SyscallNumbers))
	for n, name := range a.SyscallNumbers {
		m[name] = max(m[name], n)
	}
	return m
}

// families are the architectures that a kernel of one GOARCH can run, the native one first.
var families = map[string][]specs.Arch{
	"amd64": {specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
	"386":   {specs.ArchX86},
	"arm64": {specs.ArchAARCH64, specs.ArchARM},
	"arm":   {specs.ArchARM},
}

var knownArchs = []specs.Arch{
	specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64,
	specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64,
	specs.ArchMIPSEL64N32, specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390,
	specs.ArchS390X, specs.ArchPARISC, specs.ArchPARISC64, specs.ArchRISCV64, specs.ArchLOONGARCH64,
	specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
}

// resolveArchs gives the ABIs of a profile that a kernel of goarch can run: the native
// one always (as libseccomp has it), the others where the profile names them. Those of
// other families are known but can never be seen, so they cost no instruction.
func resolveArchs(names []specs.Arch, goarch string) ([]*abi, error) {
	if goarch == "" {
		goarch = runtime.GOARCH
	}
	family, ok := families[goarch]
	if !ok {
		return nil, fmt.Errorf("seccomp on %s: %w", goarch, spec.ErrUnsupported)
	}
	for i, n := range names {
		if !slices.Contains(knownArchs, n) {
			return nil, fmt.Errorf("architectures[%d]: unknown %q: %w", i, n, spec.ErrInvalid)
		}
	}
	out := []*abi{abis[family[0]]}
	for _, n := range family[1:] {
		if slices.Contains(names, n) {
			out = append(out, abis[n])
		}
	}
	return out, nil
}

// mux is how a call is reached through its multiplexer: argument 0 selects it.
type mux struct {
	call string
	mask uint64 // of argument 0; ipc(2) keeps a version in the upper half
	n    uint64
}

// muxes: SYS_* of linux/net.h and the numbers of linux/ipc.h.
var muxes = func() map[string]mux {
	m := map[string]mux{}
	for i, name := range []string{
		"socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair", "send", "recv",
		"sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg",
	} {
		m[name] = mux{"socketcall", ^uint64(0), uint64(i + 1)}
	}
	for name, n := range map[string]uint64{
		"semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4, "msgsnd": 11, "msgrcv": 12, "msgget": 13, "msgctl": 14,
		"shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24,
	} {
		m[name] = mux{"ipc", 0xffff, n}
	}
	return m
}()
