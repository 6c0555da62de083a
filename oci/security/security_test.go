package security

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
)

// fake records operations and refuses the nth; its kernel knows capabilities 0 to 3.
type fake struct {
	ops    []string
	failAt int
	errno  syscall.Errno
}

func (f *fake) op(format string, args ...any) error {
	f.ops = append(f.ops, fmt.Sprintf(format, args...))
	if len(f.ops) == f.failAt {
		return f.errno
	}
	return nil
}

var prctls = map[int]string{
	unix.PR_CAPBSET_DROP: "drop", unix.PR_SET_KEEPCAPS: "keepcaps", unix.PR_CAP_AMBIENT: "ambient", unix.PR_SET_NO_NEW_PRIVS: "no_new_privs",
}

func (f *fake) Prctl(option int, a2, a3 uintptr) error {
	err := f.op("%s %d %d", prctls[option], a2, a3)
	if err == nil && option == unix.PR_CAPBSET_DROP && a2 > 3 {
		return syscall.EINVAL
	}
	return err
}
func (f *fake) Capset(e, p, i uint64) error          { return f.op("capset %#x %#x %#x", e, p, i) }
func (f *fake) Setgroups(g []uint32) error           { return f.op("setgroups %v", g) }
func (f *fake) Setresgid(g uint32) error             { return f.op("setgid %d", g) }
func (f *fake) Setresuid(u uint32) error             { return f.op("setuid %d", u) }
func (f *fake) Seccomp(p []byte, flags uint32) error { return f.op("seccomp %d %d", len(p), flags) }
func (f *fake) Setrlimit(r int, soft, hard uint64) error {
	return f.op("rlimit %d %d %d", r, soft, hard)
}
func (f *fake) WriteProc(path, value string) error { return f.op("write %s %q", path, value) }

func sample() *initconf.Config {
	return &initconf.Config{
		UID: 7, GID: 8, Gids: []uint32{8, 9},
		Capabilities: initconf.Capabilities{Bounding: 0b0101, Effective: 0b0001, Permitted: 0b0101, Inheritable: 0b0100, Ambient: 0b0100},
	}
}

func TestBecome(t *testing.T) {
	want := []string{
		"drop 1 0", "drop 3 0", "drop 4 0", // the last is unknown: the end
		"keepcaps 1 0", "setgroups [8 9]", "setgid 8", "setuid 7", "keepcaps 0 0", "capset 0x1 0x5 0x4",
		"ambient 4 0", "ambient 2 2",
	}
	f := &fake{}
	if err := Become(f, sample()); err != nil || !slices.Equal(f.ops, want) {
		t.Errorf("%v\n%s", err, strings.Join(f.ops, "\n"))
	}
	for n := range want {
		f := &fake{failAt: n + 1, errno: syscall.EPERM}
		if err := Become(f, sample()); !errors.Is(err, syscall.EPERM) || len(f.ops) != n+1 {
			t.Errorf("%s refused: %v, then %v", want[n], err, f.ops[n+1:])
		}
	}
}

func TestLabels(t *testing.T) {
	c := &initconf.Config{AppArmor: "prof", SELinux: "u:r:t"}
	for _, tc := range []struct {
		fake fake
		want []string
		err  error
	}{
		{fake{}, []string{`write self/attr/apparmor/exec "exec prof"`, `write self/attr/exec "u:r:t"`}, nil},
		{fake{failAt: 1, errno: syscall.ENOENT}, []string{`write self/attr/apparmor/exec "exec prof"`, `write self/attr/exec "exec prof"`, `write self/attr/exec "u:r:t"`}, nil},
		{fake{failAt: 1, errno: syscall.EACCES}, []string{`write self/attr/apparmor/exec "exec prof"`}, syscall.EACCES},
	} {
		if err := Label(&tc.fake, c); !errors.Is(err, tc.err) || !slices.Equal(tc.fake.ops, tc.want) {
			t.Errorf("%v %v", err, tc.fake.ops)
		}
	}
}

func TestLimits(t *testing.T) {
	f := &fake{failAt: 2, errno: syscall.EPERM}
	err := Limits(f, []initconf.Rlimit{{Resource: 7, Soft: 1, Hard: 2}, {Resource: 8, Soft: 3, Hard: 4}})
	if err == nil || !strings.Contains(err.Error(), "RLIMIT_MEMLOCK") || f.ops[0] != "rlimit 7 1 2" {
		t.Errorf("%v %v", err, f.ops)
	}
	if limitName(99) != "unknown" {
		t.Error(limitName(99))
	}
}

func TestSeccomp(t *testing.T) {
	f := &fake{}
	if err := Seccomp(f, &initconf.Config{}); err != nil || f.ops != nil {
		t.Errorf("none: %v %v", err, f.ops)
	}
	if err := Seccomp(f, &initconf.Config{Seccomp: make([]byte, 16), SeccompFlags: 2}); err != nil || f.ops[0] != "seccomp 16 2" {
		t.Errorf("%v %v", err, f.ops)
	}
}
