package probe

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// called says whether a system call is known: whatever else is wrong with the arguments,
// an unknown one is ENOSYS, and an unknown flag of close_range EINVAL.
func called(f func() error) bool {
	err := f()
	return !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL)
}

// tried says whether an attempt that makes a descriptor works, and closes it.
func tried(f func() (int, error)) bool {
	fd, err := f()
	if err != nil {
		return false
	}
	if fd >= 0 {
		unix.Close(fd)
	}
	return true
}

func openat2() (int, error) {
	return unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// mountAPI opens without cloning, which takes no privilege.
func mountAPI() (int, error) {
	return unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLOEXEC)
}

func pidfd() (int, error) { return unix.PidfdOpen(os.Getpid(), 0) }

func memfdExec() (int, error) {
	return unix.MemfdCreate("probe", unix.MFD_CLOEXEC|unix.MFD_EXEC)
}

// pidfdInfo is the first published size of struct pidfd_info (linux/pidfd.h, 64 bytes).
type pidfdInfo struct {
	mask uint64
	_    [56]byte
}

// pidfdGetInfo asks for this process (ioctl PIDFD_GET_INFO, _IOWR(0xFF, 11, 64 bytes)).
func pidfdGetInfo() (int, error) {
	fd, err := pidfd()
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	const request = 3<<30 | unsafe.Sizeof(pidfdInfo{})<<16 | 0xff<<8 | 11
	info := pidfdInfo{mask: 1} // PIDFD_INFO_PID
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&info)))
	if e != 0 {
		return -1, e
	}
	return -1, nil
}

func number(dir, name string) int {
	n, err := strconv.Atoi(strings.TrimSpace(text(dir, name)))
	if err != nil {
		return 0
	}
	return n
}

func parseHex(s string) uint64 {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0
	}
	return n
}
