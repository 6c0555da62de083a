// Package rtnl sends rtnetlink requests in batches: one system call carries many
// messages, and the kernel answers each. It opens sockets in the calling thread's
// network namespace or in another one. Building the messages is package nl's job
// (vishvananda/netlink), deciding which ones to send is the caller's.
// A Conn is for one goroutine at a time.
package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix" // sockets of one namespace each, with extended acknowledgements
)

// Conn is an rtnetlink socket. It stays in the namespace it was opened in.
type Conn struct {
	fd  int
	buf []byte
}

// Error is the kernel's refusal of one message of a batch. Index counts from 0.
type Error struct {
	Index  int
	Errno  unix.Errno
	Reason string // the kernel's extended acknowledgement, often empty
}

func (e *Error) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("rtnetlink message %d: %v (%s)", e.Index, e.Errno, e.Reason)
	}
	return fmt.Sprintf("rtnetlink message %d: %v", e.Index, e.Errno)
}

func (e *Error) Unwrap() error { return e.Errno }

// Dial opens a socket in the calling thread's network namespace.
func Dial() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket(NETLINK_ROUTE)", err)
	}
	// Both only shorten and explain the answers: a kernel without them still works.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	return &Conn{fd: fd, buf: make([]byte, 4096)}, nil
}

// Close closes the socket.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Within runs f on a thread that is in the network namespace ns (an open descriptor). f
// must not start goroutines that count on it. The thread goes back afterwards; one that
// cannot go back dies with its goroutine, so no other work ever runs in ns.
func Within(ns int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- &os.PathError{Op: "open", Path: "/proc/thread-self/ns/net", Err: err}
			return
		}
		defer func() { _ = unix.Close(home) }()
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- os.NewSyscallError("setns", err)
			return
		}
		err = f()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// Do sends all requests in one datagram and waits for the answers; the kernel carries
// out every one, also those behind one that it refuses. The error is the *Error of each
// refused message, joined.
func (c *Conn) Do(reqs ...*nl.NetlinkRequest) error {
	var out []byte
	for i, r := range reqs {
		r.Flags |= unix.NLM_F_ACK
		r.Seq = uint32(i)
		b := r.Serialize()
		out = append(out, b...)
		for len(out)%unix.NLMSG_ALIGNTO != 0 {
			out = append(out, 0)
		}
	}
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := retry(func() error { return unix.Sendto(c.fd, out, 0, kernel) }); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	var errs []error
	for answered := 0; answered < len(reqs); {
		var n int
		err := retry(func() (err error) { n, _, err = unix.Recvfrom(c.fd, c.buf, 0); return })
		if err != nil {
			return errors.Join(append(errs, os.NewSyscallError("recvfrom", err))...)
		}
		acks, refused := parseAcks(c.buf[:n])
		answered += acks
		errs = append(errs, refused...)
	}
	return errors.Join(errs...)
}

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// parseAcks reads the NLMSG_ERROR messages of a datagram (netlink(7)); other messages,
// such as late notifications, are passed over.
func parseAcks(b []byte) (acks int, refused []error) {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			break
		}
		msg := b[:size]
		b = b[min((size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
		if binary.NativeEndian.Uint16(msg[4:]) != unix.NLMSG_ERROR || size < unix.SizeofNlMsghdr+4 {
			continue
		}
		acks++
		errno := int32(binary.NativeEndian.Uint32(msg[unix.SizeofNlMsghdr:]))
		if errno == 0 {
			continue
		}
		refused = append(refused, &Error{
			Index:  ackIndex(msg),
			Errno:  unix.Errno(-errno),
			Reason: ackReason(msg),
		})
	}
	return acks, refused
}

func ackIndex(msg []byte) int { return int(binary.NativeEndian.Uint32(msg[8:])) }

// ackReason finds NLMSGERR_ATTR_MSG behind the echoed header (or the whole echoed
// message, where the kernel did not cap it).
func ackReason(msg []byte) string {
	const echoed = unix.SizeofNlMsghdr + 4
	flags := binary.NativeEndian.Uint16(msg[6:])
	if flags&unix.NLM_F_ACK_TLVS == 0 || len(msg) < echoed+unix.SizeofNlMsghdr {
		return ""
	}
	at := echoed + unix.SizeofNlMsghdr
	if flags&unix.NLM_F_CAPPED == 0 {
		at = echoed + int(binary.NativeEndian.Uint32(msg[echoed:]))
	}
	if at > len(msg) {
		return ""
	}
	attrs, err := nl.ParseRouteAttr(msg[at:])
	if err != nil {
		return ""
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.NLMSGERR_ATTR_MSG && len(a.Value) > 0 {
			return string(a.Value[:len(a.Value)-1])
		}
	}
	return ""
}
