package checkpoint

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/checkpoint/child"
)

// ReportConn is the parent's end of a child's report socket. Receive is for one
// goroutine at a time; Close and SetDeadline may be called from others.
type ReportConn struct{ f *os.File }

// NewReport makes a report socket. The child's end goes to the child at FDReport and is
// then to be closed here, or EOF never comes. Both ends are close-on-exec.
func NewReport() (parent *ReportConn, childEnd *os.File, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	// Only the parent's end is non-blocking, so that the runtime's poller takes it and
	// deadlines work; the child blocks in sendmsg.
	if err := unix.SetNonblock(p[0], true); err != nil {
		unix.Close(p[0])
		unix.Close(p[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return AdoptReport(os.NewFile(uintptr(p[0]), "report")), os.NewFile(uintptr(p[1]), "report (child)"), nil
}

// AdoptReport makes a ReportConn of a parent's end that came from elsewhere and owns it;
// f must be non-blocking for deadlines to work.
func AdoptReport(f *os.File) *ReportConn { return &ReportConn{f: f} }

// File is the parent's end, for mirroring it elsewhere; it stays the ReportConn's.
func (c *ReportConn) File() *os.File { return c.f }

// SetDeadline bounds Receive; a passed one makes it fail with os.ErrDeadlineExceeded.
func (c *ReportConn) SetDeadline(t time.Time) error { return c.f.SetReadDeadline(t) }

// Close ends a pending Receive with os.ErrClosed.
func (c *ReportConn) Close() error { return c.f.Close() }

// Receive returns the child's next report. io.EOF means that the child closed the socket:
// it has exec'd, or is gone. A message that breaks the protocol is ErrMalformed, and its
// descriptors are closed.
func (c *ReportConn) Receive() (Report, error) {
	raw, err := c.f.SyscallConn()
	if err != nil {
		return Report{FD: -1}, err
	}
	var (
		buf      [child.MaxReport]byte
		oob      [256]byte // more than one descriptor is a broken message, but its descriptors must be seen to be closed
		n, oobn  int
		flags    int
		innerErr error
	)
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, oobn, flags, _, innerErr = unix.Recvmsg(int(fd), buf[:], oob[:], unix.MSG_CMSG_CLOEXEC)
			if innerErr != unix.EINTR {
				return innerErr != unix.EAGAIN
			}
		}
	})
	if err != nil {
		return Report{FD: -1}, err
	}
	if innerErr == unix.ECONNRESET { // the child died with data of ours unread
		return Report{FD: -1}, io.EOF
	}
	if innerErr != nil {
		return Report{FD: -1}, os.NewSyscallError("recvmsg", innerErr)
	}
	if n == 0 && oobn == 0 {
		return Report{FD: -1}, io.EOF
	}
	return decode(buf[:n], rights(oob[:oobn]), flags)
}

func decode(b []byte, fds []int, flags int) (Report, error) {
	r, err := child.Decode(b)
	want := 0
	if r.Kind == Console {
		want = 1
	}
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) == 0 && len(fds) == want {
		if want == 1 {
			r.FD = fds[0]
		}
		return r, nil
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	return Report{FD: -1}, ErrMalformed
}

func rights(oob []byte) []int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var fds []int
	for i := range messages {
		if more, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, more...)
		}
	}
	return fds
}
