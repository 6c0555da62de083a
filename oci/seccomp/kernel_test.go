package seccomp

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const childEnv = "SLIPWAY_TEST_SECCOMP_CHILD"

// TestKernel loads the default profile in a process of its own and asks the kernel. It
// needs no root: no_new_privs is enough.
func TestKernel(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		child()
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestKernel$")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
	want := []string{
		"before: unshare ok",
		"getpid ok",
		"unshare operation not permitted",
		"personality(query) ok",
		"personality(no_randomize) operation not permitted",
		"socket(unix) ok",
		"socket(vsock) operation not permitted",
		"clone3 function not implemented",
		"newer call function not implemented",
	}
	if got := strings.Split(strings.TrimSpace(string(out)), "\n"); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got\n%s\nwant\n%s", out, strings.Join(want, "\n"))
	}
}

// child filters its own thread and exits.
func child() {
	runtime.LockOSThread()
	say := func(what string, errno unix.Errno) {
		if errno == 0 {
			fmt.Println(what, "ok")
		} else {
			fmt.Println(what, errno)
		}
	}
	call := func(what string, nr, a uintptr) {
		_, _, errno := unix.RawSyscall(nr, a, unix.SOCK_STREAM, 0) // the others take one argument
		say(what, errno)
	}
	call("before: unshare", unix.SYS_UNSHARE, 0)
	p, err := Default(withCaps(dockerCaps))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	prog, flags, err := Compile(p, "")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	f := unix.SockFprog{Len: uint16(len(prog) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&prog[0]))}
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&f))); errno != 0 {
		fmt.Println("load:", errno)
		os.Exit(1)
	}
	call("getpid", unix.SYS_GETPID, 0)
	call("unshare", unix.SYS_UNSHARE, 0)
	call("personality(query)", unix.SYS_PERSONALITY, 0xffffffff)
	call("personality(no_randomize)", unix.SYS_PERSONALITY, 0x0040000)
	call("socket(unix)", unix.SYS_SOCKET, unix.AF_UNIX)
	call("socket(vsock)", unix.SYS_SOCKET, unix.AF_VSOCK)
	call("clone3", unix.SYS_CLONE3, 0)
	call("newer call", 468, 0) // file_getattr(2), Linux 6.17
	os.Exit(0)
}
