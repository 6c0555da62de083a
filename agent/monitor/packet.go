package monitor

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// errUnread is told once when the other side closed with packets of ours unread; what it
// had sent before is still there to be read.
const errUnread = unix.ECONNRESET

// maxFDs bounds the descriptors beside one packet: a launch has six, and in a user namespace one
// for each mount. It is the kernel's own bound (SCM_MAX_FD).
const maxFDs = 253

var errTruncated = errors.New("monitor: packet longer than the protocol allows")

// packetConn is one end of a SOCK_SEQPACKET connection on the runtime's poller. It
// exists because package net would double the monitor's size. recv is for one
// goroutine; send may be called by several, each packet goes out whole.
type packetConn struct {
	f   *os.File
	rc  syscall.RawConn
	oob []byte // recv's
}

// newPacketConn takes fd over.
func newPacketConn(fd int) (*packetConn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "seqpacket")
	rc, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &packetConn{f: f, rc: rc}, nil
}

// recv reads one packet into buf. The descriptors are close-on-exec and the caller's.
// io.EOF means that the other side has closed.
func (c *packetConn) recv(buf []byte) (n int, fds []int, err error) {
	if c.oob == nil {
		c.oob = make([]byte, unix.CmsgSpace(maxFDs*4))
	}
	oob := c.oob
	var oobn, flags int
	var rerr error
	err = c.rc.Read(func(fd uintptr) bool {
		for {
			n, oobn, flags, _, rerr = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC)
			if rerr != unix.EINTR && rerr != errUnread {
				return rerr != unix.EAGAIN
			}
		}
	})
	if err == nil {
		err = os.NewSyscallError("recvmsg", rerr)
	}
	if err != nil {
		return 0, nil, err
	}
	fds, err = parseRights(oob[:oobn])
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errTruncated
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		closeFDs(fds)
		return 0, nil, err
	}
	return n, fds, nil
}

func parseRights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	var fds []int
	for i := range msgs {
		got, err := unix.ParseUnixRights(&msgs[i])
		if err == nil {
			fds = append(fds, got...)
		}
	}
	return fds, nil
}

// send writes one packet; fds stay the caller's.
func (c *packetConn) send(p []byte, fds ...int) error {
	if len(p) > MaxMessage || len(fds) > maxFDs {
		return errTruncated
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	var werr error
	err := c.rc.Write(func(fd uintptr) bool {
		for {
			_, werr = unix.SendmsgN(int(fd), p, oob, nil, unix.MSG_NOSIGNAL)
			if werr != unix.EINTR {
				return werr != unix.EAGAIN
			}
		}
	})
	if err == nil {
		err = os.NewSyscallError("sendmsg", werr)
	}
	return err
}

func (c *packetConn) close() error { return c.f.Close() }

// withAddress calls use with a socket address for path. The kernel takes 107 bytes; a
// longer path goes through a descriptor of its directory.
func withAddress(path string, use func(unix.Sockaddr) error) error {
	if len(path) <= 107 {
		return use(&unix.SockaddrUnix{Name: path})
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return use(&unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path)})
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
