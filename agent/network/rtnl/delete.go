package rtnl

import (
	"encoding/binary"
	"errors"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix" // rtnetlink constants
)

// DeleteLink removes a link of the calling thread's namespace (a veth's other end goes
// with it); unix.ENODEV when there is none. It returns as soon as the kernel announces
// that both ends are gone: their names are free and nothing passes. The system call
// itself goes on for 15 to 30 ms more, in which the kernel waits for its RCU readers
// (netdev_run_todo); a goroutine stays with it.
func DeleteLink(name string) error {
	c, err := Dial()
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.RTNLGRP_LINK); err != nil {
		_ = c.Close()
		return os.NewSyscallError("setsockopt(NETLINK_ADD_MEMBERSHIP)", err)
	}
	// Answers may be lost only when other links' news overflow the socket: see below.
	wait := unix.Timeval{Sec: 1}
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		_ = c.Close()
		return os.NewSyscallError("setsockopt(SO_RCVTIMEO)", err)
	}
	req := deleteRequest(name).Serialize()
	sent := make(chan error, 1)
	go func() {
		kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
		sent <- retry(func() error { return unix.Sendto(c.fd, req, 0, kernel) })
	}()
	gone, err := c.awaitGone(name)
	if gone {
		go func() { <-sent; _ = c.Close() }()
		return err
	}
	defer func() { _ = c.Close() }()
	if serr := <-sent; serr != nil {
		return os.NewSyscallError("sendto", serr)
	}
	// The answer was lost, not the deed: a second request finds nothing to delete.
	plain, err := Dial()
	if err != nil {
		return err
	}
	defer func() { _ = plain.Close() }()
	if err := plain.Do(deleteRequest(name)); !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

func deleteRequest(name string) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	return req
}

// awaitGone reads until the link's end is announced or the request is answered; false
// when the socket overflowed or timed out first.
func (c *Conn) awaitGone(name string) (gone bool, err error) {
	buf := make([]byte, 32<<10) // a link's news are 1 to 2 KiB, more with many virtual functions
	for {
		var n int
		err := retry(func() (err error) { n, _, err = unix.Recvfrom(c.fd, buf, 0); return })
		if err != nil {
			return false, err
		}
		if acks, refused := parseAcks(buf[:n]); acks > 0 {
			return true, errors.Join(refused...)
		}
		if announces(buf[:n], name) {
			return true, nil
		}
	}
}

// announces tells whether b holds RTM_DELLINK of the link itself. The bridge says
// RTM_DELLINK too, of family AF_BRIDGE, when it merely loses a port.
func announces(b []byte, name string) bool {
	const body = unix.SizeofNlMsghdr + unix.SizeofIfInfomsg
	if len(b) < body || binary.NativeEndian.Uint16(b[4:]) != unix.RTM_DELLINK || b[unix.SizeofNlMsghdr] != unix.AF_UNSPEC {
		return false
	}
	size := min(int(binary.NativeEndian.Uint32(b)), len(b))
	attrs, err := nl.ParseRouteAttr(b[body:size])
	if err != nil {
		return false
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.IFLA_IFNAME {
			return string(a.Value) == name+"\x00"
		}
	}
	return false
}
