package kernel

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Setns moves the calling thread into the namespaces that fd stands for.
func Setns(fd int, flags uint32) error {
	return wrap("setns", "", retry(func() error { return unix.Setns(fd, int(flags)) }))
}

// Unshare gives the calling thread new namespaces, or its own CLONE_FS.
func Unshare(flags uint32) error {
	return wrap("unshare", "", retry(func() error { return unix.Unshare(int(flags)) }))
}

// PidfdOpen is pidfd_open(2).
func PidfdOpen(pid int) (int, error) {
	fd, err := retryFD(func() (int, error) { return unix.PidfdOpen(pid, 0) })
	return fd, wrap("pidfd_open", "", err)
}

// PidfdSendSignal is pidfd_send_signal(2): it reaches that process or none (ESRCH).
func PidfdSendSignal(pidfd int, sig syscall.Signal) error {
	return wrap("pidfd_send_signal", "", retry(func() error {
		return unix.PidfdSendSignal(pidfd, sig, nil, 0)
	}))
}

// Prctl is prctl(2) for the calling thread.
func Prctl(option int, a2, a3, a4 uintptr) error {
	return wrap("prctl", "", retry(func() error { return unix.Prctl(option, a2, a3, a4, 0) }))
}

// SetName is prctl(PR_SET_NAME) for the calling thread: its /proc comm, of which the kernel keeps
// the first 15 bytes.
func SetName(name string) error {
	b := make([]byte, 16)
	copy(b[:15], name)
	return wrap("prctl", "PR_SET_NAME", unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&b[0])), 0, 0, 0))
}

// Capset sets the calling thread's three sets, bit n for capability n.
func Capset(effective, permitted, inheritable uint64) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(effective), Permitted: uint32(permitted), Inheritable: uint32(inheritable)},
		{Effective: uint32(effective >> 32), Permitted: uint32(permitted >> 32), Inheritable: uint32(inheritable >> 32)},
	}
	return wrap("capset", "", unix.Capset(&hdr, &data[0]))
}

// Capget reads the calling thread's three sets.
func Capget() (effective, permitted, inheritable uint64, err error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&hdr, &d[0]); err != nil {
		return 0, 0, 0, wrap("capget", "", err)
	}
	return uint64(d[1].Effective)<<32 | uint64(d[0].Effective),
		uint64(d[1].Permitted)<<32 | uint64(d[0].Permitted),
		uint64(d[1].Inheritable)<<32 | uint64(d[0].Inheritable), nil
}

// Seccomp loads a classic BPF program for the calling thread: 8 bytes an instruction in
// native byte order (struct sock_filter). It needs no_new_privs or CAP_SYS_ADMIN.
func Seccomp(program []byte, flags uint32) error {
	const size = 8 // sizeof(struct sock_filter)
	if len(program) == 0 || len(program)%size != 0 || len(program)/size > 4096 {
		return wrap("seccomp", "", unix.EINVAL)
	}
	prog := unix.SockFprog{
		Len:    uint16(len(program) / size),
		Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0])),
	}
	_, _, e := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return wrap("seccomp", "", e)
	}
	return nil
}

// JoinKeyring gives the process a new anonymous session keyring (keyctl(2)).
func JoinKeyring() error {
	// A null name; x/sys can pass only an empty one, which is EINVAL.
	return raw("keyctl", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0)
}

// CloseRange closes the descriptors first to last, or with CLOSE_RANGE_CLOEXEC marks them
// (close_range(2), Linux 5.9 and 5.11).
func CloseRange(first, last, flags uint) error {
	return wrap("close_range", "", retry(func() error { return unix.CloseRange(first, last, flags) }))
}

// Setresuid sets the calling thread's user ids. The library's calls set those of every
// thread; slipway-init's other threads die at exec.
func Setresuid(uid uint32) error {
	return raw("setresuid", unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
}

// Setresgid sets the calling thread's group ids.
func Setresgid(gid uint32) error {
	return raw("setresgid", unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid))
}

// Setgroups sets the calling thread's supplementary groups.
func Setgroups(gids []uint32) error {
	var first *uint32
	if len(gids) > 0 {
		first = &gids[0]
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(gids)), uintptr(unsafe.Pointer(first)), 0); e != 0 {
		return wrap("setgroups", "", e)
	}
	return nil
}

func raw(op string, nr, a, b, c uintptr) error {
	if _, _, e := syscall.RawSyscall(nr, a, b, c); e != 0 {
		return wrap(op, "", e)
	}
	return nil
}

// sigaction is the kernel's struct on amd64 and arm64 alike.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

const (
	sigDefault = 0
	sigIgnore  = 1
	sigSetSize = 8
)

// ResetSignals empties the calling thread's signal mask and turns every ignored signal
// back to its default. Handled ones are reset by execve; ignored ones are not (signal(7)).
func ResetSignals() {
	for sig := uintptr(1); sig <= 64; sig++ {
		var now sigaction
		_, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&now)), sigSetSize, 0, 0)
		if e == 0 && now.handler == sigIgnore {
			setAction(sig, sigDefault)
		}
	}
	setMask(0)
}

func setAction(sig, handler uintptr) {
	act := sigaction{handler: handler}
	// It fails for SIGKILL and SIGSTOP alone, which cannot be ignored.
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&act)), 0, sigSetSize, 0, 0)
}

func setMask(mask uint64) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&mask)), 0, sigSetSize, 0, 0)
}

// IgnoreSignal sets a signal's disposition to SIG_IGN. For SIGCHLD that makes the kernel
// reap the process's children itself (wait(2), notes).
func IgnoreSignal(sig syscall.Signal) { setAction(uintptr(sig), sigIgnore) }

// BlockSignals sets the calling thread's mask to exactly these signals; execve keeps it.
func BlockSignals(sigs ...syscall.Signal) { setMask(maskOf(sigs)) }

// AwaitSignal waits until one of sigs, which every thread must have blocked, arrives.
func AwaitSignal(sigs ...syscall.Signal) syscall.Signal {
	mask := maskOf(sigs)
	for {
		n, _, e := syscall.Syscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&mask)), 0, 0, sigSetSize, 0, 0)
		if e == 0 {
			return syscall.Signal(n)
		}
	}
}

func maskOf(sigs []syscall.Signal) (mask uint64) {
	for _, s := range sigs {
		mask |= 1 << (uint(s) - 1)
	}
	return mask
}

// Execveat runs the program open at fd (execveat(2), AT_EMPTY_PATH); it returns only on error.
func Execveat(fd int, argv, env []string) error {
	a, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return wrap("execveat", "", err)
	}
	e, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return wrap("execveat", "", err)
	}
	empty := [1]byte{}
	_, _, errno := syscall.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty)),
		uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&e[0])), unix.AT_EMPTY_PATH, 0)
	return wrap("execveat", "", errno)
}

// Setrlimit is setrlimit(2) by way of prlimit64. EPERM: raising a hard limit takes
// CAP_SYS_RESOURCE.
func Setrlimit(resource int, soft, hard uint64) error {
	limit := unix.Rlimit{Cur: soft, Max: hard}
	return wrap("setrlimit", "", unix.Prlimit(0, resource, &limit, nil))
}

// LastFD is the highest descriptor that CloseRange can be told of.
const LastFD = uint(1<<31 - 1)
