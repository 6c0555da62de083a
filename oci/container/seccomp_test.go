package container_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// refuse is a filter that answers EPERM to each of the given system calls.
func refuse(calls ...uint32) []byte {
	type instruction struct {
		code   uint16
		jt, jf uint8
		k      uint32
	}
	program := []instruction{{code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, k: 0}} // seccomp_data.nr
	for _, nr := range calls {
		program = append(program,
			instruction{unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, 0, 1, nr},
			instruction{code: unix.BPF_RET, k: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)})
	}
	program = append(program, instruction{code: unix.BPF_RET, k: unix.SECCOMP_RET_ALLOW})
	var b []byte
	for _, i := range program {
		b = binary.NativeEndian.AppendUint16(b, i.code)
		b = append(b, i.jt, i.jf)
		b = binary.NativeEndian.AppendUint32(b, i.k)
	}
	return b
}

// TestSeccompOrder: with no_new_privs the filter comes last and may refuse all that init
// itself needed; without, it comes before the capabilities go.
func TestSeccompOrder(t *testing.T) {
	balance(t)
	c := config(rootfs(t), "sh", "-c", "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status; mkdir /tmp/x")
	c.Seccomp = refuse(unix.SYS_MKDIRAT, sysMkdir, unix.SYS_CAPSET, unix.SYS_SETRESUID, unix.SYS_SETGROUPS, unix.SYS_PRCTL, unix.SYS_SENDMSG, unix.SYS_CLOSE_RANGE)
	out, code := run(t, c, newAll)
	if code == 0 || !strings.HasPrefix(out, "NoNewPrivs:\t1\nSeccomp:\t2\n") || !strings.Contains(out, "Operation not permitted") {
		t.Errorf("exit %d\n%s", code, out)
	}
	c.NoNewPrivs, c.Seccomp = false, refuse(unix.SYS_MKDIRAT, sysMkdir)
	c.UID = 1000
	out, code = run(t, c, newAll)
	if code == 0 || !strings.HasPrefix(out, "NoNewPrivs:\t0\nSeccomp:\t2\n") || !strings.Contains(out, "Operation not permitted") {
		t.Errorf("without no_new_privs: exit %d\n%s", code, out)
	}
	c.Seccomp = []byte("not a filter")
	if e := failure(t, c); e.Step != "seccomp" || e.Errno != unix.EINVAL {
		t.Errorf("%+v", e)
	}
}
