// Package namespaces is the inside of a container's namespaces other than mount: joining
// and unsharing them, host name, sysctls, the loopback link. Which are new, joined or
// shared is oci/plan's decision. It is linked into slipway-init; its calls are for the
// calling thread, which must be locked to its goroutine.
package namespaces

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
)

var errSysctl = errors.New("not a sysctl's name")

// Join enters namespaces by path, in order. All paths are opened before the first is
// joined: a mount namespace among them would change what the others mean.
func Join(joins []initconf.Join) error {
	fds := make([]int, 0, len(joins))
	defer func() {
		for _, fd := range fds {
			kernel.Close(fd)
		}
	}()
	for _, j := range joins {
		fd, err := kernel.Open(unix.AT_FDCWD, j.Path, unix.O_RDONLY, 0, 0)
		if err != nil {
			return &fs.PathError{Op: "join", Path: j.Path, Err: kernel.Errno(err)}
		}
		fds = append(fds, fd)
	}
	for i, j := range joins {
		if err := kernel.Setns(fds[i], j.Flag); err != nil {
			return &fs.PathError{Op: "join", Path: j.Path, Err: kernel.Errno(err)}
		}
	}
	return nil
}

// JoinProcess enters namespaces of the process that pidfd stands for. Its mount
// namespace can be joined only by a thread that shares its root and working directory
// with nobody (setns(2), CLONE_NEWNS).
func JoinProcess(pidfd int, flags uint32) error {
	if flags&unix.CLONE_NEWNS != 0 {
		if err := kernel.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
	}
	return kernel.Setns(pidfd, flags)
}

// Hostname sets host and domain name of the UTS namespace, those that are not empty.
func Hostname(host, domain string) error {
	if host != "" {
		if err := unix.Sethostname([]byte(host)); err != nil {
			return &fs.PathError{Op: "hostname", Path: host, Err: err}
		}
	}
	if domain != "" {
		if err := unix.Setdomainname([]byte(domain)); err != nil {
			return &fs.PathError{Op: "domainname", Path: domain, Err: err}
		}
	}
	return nil
}

// Sysctls writes values below /proc/sys of the procfs proc. Names that do not stay there
// are refused; which are allowed is the caller's policy.
func Sysctls(proc int, list []initconf.Sysctl) error {
	for _, s := range list {
		if !sysctlName(s.Path) {
			return &fs.PathError{Op: "sysctl", Path: s.Path, Err: errSysctl}
		}
		if err := kernel.WriteProc(proc, "sys/"+s.Path, s.Value); err != nil {
			return &fs.PathError{Op: "sysctl", Path: s.Path, Err: kernel.Errno(err)}
		}
	}
	return nil
}

// sysctlName accepts slash-separated names without empty parts, dots or control bytes.
func sysctlName(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return false
		}
	}
	return true
}

// ifreq is struct ifreq with flags (netdevice(7)).
type ifreq struct {
	name  [unix.IFNAMSIZ]byte
	flags uint16
	_     [22]byte
}

// LoopbackUp sets the loopback link of this network namespace up; one that is up
// already, as the host's, is not touched.
func LoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == unix.EAFNOSUPPORT {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return &fs.PathError{Op: "loopback", Path: "lo", Err: err}
	}
	defer kernel.Close(fd)
	req := ifreq{name: [unix.IFNAMSIZ]byte{'l', 'o'}}
	if err := kernel.Ioctl(fd, syscall.SIOCGIFFLAGS, unsafe.Pointer(&req)); err != nil {
		return &fs.PathError{Op: "loopback", Path: "lo", Err: kernel.Errno(err)}
	}
	if req.flags&unix.IFF_UP != 0 {
		return nil
	}
	req.flags |= unix.IFF_UP
	if err := kernel.Ioctl(fd, syscall.SIOCSIFFLAGS, unsafe.Pointer(&req)); err != nil {
		return &fs.PathError{Op: "loopback", Path: "lo", Err: kernel.Errno(err)}
	}
	return nil
}
