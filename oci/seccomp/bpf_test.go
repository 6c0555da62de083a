package seccomp

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// data is struct seccomp_data without the instruction pointer.
type data struct {
	nr, arch uint32
	args     [6]uint64
}

func (d data) word(off uint32) uint32 {
	switch {
	case off == offNumber:
		return d.nr
	case off == offArch:
		return d.arch
	case off >= offArgs && off < offArgs+48 && off%4 == 0:
		v := d.args[(off-offArgs)/8]
		if off%8 == 4 {
			v >>= 32
		}
		return uint32(v)
	}
	panic(fmt.Sprintf("load at %d", off))
}

// run interprets a program as the kernel does and counts instructions.
func run(t testing.TB, prog []byte, d data) (result uint32, steps int) {
	t.Helper()
	var a uint32
	for pc := 0; ; steps++ {
		if 8*pc+8 > len(prog) {
			t.Fatalf("pc %d is outside of %d instructions", pc, len(prog)/8)
		}
		b := prog[8*pc:]
		code, jt, jf, k := binary.LittleEndian.Uint16(b), int(b[2]), int(b[3]), binary.LittleEndian.Uint32(b[4:])
		pc++
		jump := func(yes bool) {
			if yes {
				pc += jt
			} else {
				pc += jf
			}
		}
		switch code {
		case ldAbs:
			a = d.word(k)
		case and:
			a &= k
		case ja:
			pc += int(k)
		case jeq:
			jump(a == k)
		case jgt:
			jump(a > k)
		case jge:
			jump(a >= k)
		case ret:
			return k, steps + 1
		default:
			t.Fatalf("instruction %d: code %#x", pc-1, code)
		}
	}
}

// listing prints a program with absolute jump targets.
func listing(prog []byte) string {
	var s strings.Builder
	for pc := range len(prog) / 8 {
		b := prog[8*pc:]
		code, jt, jf, k := binary.LittleEndian.Uint16(b), int(b[2]), int(b[3]), binary.LittleEndian.Uint32(b[4:])
		fmt.Fprintf(&s, "%4d  ", pc)
		switch code {
		case ldAbs:
			fmt.Fprintf(&s, "ld   %s", field(k))
		case and:
			fmt.Fprintf(&s, "and  %#x", k)
		case ja:
			fmt.Fprintf(&s, "ja   %d", pc+1+int(k))
		case jeq, jgt, jge:
			fmt.Fprintf(&s, "%s  %#x ? %d : %d", map[uint16]string{jeq: "jeq", jgt: "jgt", jge: "jge"}[code], k, pc+1+jt, pc+1+jf)
		case ret:
			fmt.Fprintf(&s, "ret  %s", retName(k))
		}
		s.WriteByte('\n')
	}
	return s.String()
}

func field(off uint32) string {
	switch off {
	case offNumber:
		return "nr"
	case offArch:
		return "arch"
	}
	half := "lo"
	if off%8 == 4 {
		half = "hi"
	}
	return fmt.Sprintf("arg%d.%s", (off-offArgs)/8, half)
}

func retName(k uint32) string {
	switch k & retActionMask {
	case retKillProcess:
		return "kill_process"
	case retKillThread:
		return "kill_thread"
	case retTrap:
		return "trap"
	case retErrno:
		return fmt.Sprintf("errno %d", k&0xffff)
	case retTrace:
		return fmt.Sprintf("trace %d", k&0xffff)
	case retLog:
		return "log"
	case retAllow:
		return "allow"
	}
	return fmt.Sprintf("%#x", k)
}
