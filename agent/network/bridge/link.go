package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix" // rtnetlink constants

	"github.com/slipway-cri/slipway/agent/network/rtnl"
)

// linkSpec is a veth pair with its host side on the bridge.
type linkSpec struct {
	host             string
	bridge           int // index
	mtu              int
	hostAddr, podMAC net.HardwareAddr
	hairpin          bool
}

// insideSpec is the inside of a pod's namespace.
type insideSpec struct {
	ips      []netip.Prefix
	gateways []netip.Addr // each the default route of its family
}

type realNamespace struct {
	file, node *os.File
	conn       *rtnl.Conn
}

func (n *realNamespace) Close() error {
	return errors.Join(n.conn.Close(), n.file.Close(), n.node.Close())
}

// Connect does everything inside with one system call. The pair is made from the pod's
// side, since only the end whose namespace the socket is in may choose its index
// (veth_newlink), and the outer end is born in the node's namespace.
func (n *realNamespace) Connect(l linkSpec, in insideSpec) error {
	reqs := []*nl.NetlinkRequest{addVeth(l, int(n.node.Fd())), loopbackUp()}
	names := []string{"add link " + l.host + " with " + Iface, "bring up lo"}
	for _, p := range in.ips {
		reqs, names = append(reqs, addAddr(p)), append(names, "add address "+p.String())
	}
	for _, g := range in.gateways {
		reqs, names = append(reqs, addDefault(g)), append(names, "add default route via "+g.String())
	}
	err := n.conn.Do(reqs...)
	var first *rtnl.Error
	if errors.As(err, &first) && first.Index < len(names) {
		// What comes after the first refusal mostly follows from it.
		return fmt.Errorf("%s: %w", names[first.Index], first)
	}
	return err
}

// Plug puts the outer end on the bridge and up.
func (realKernel) Plug(l linkSpec) error {
	c, err := rtnl.Dial()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	reqs := []*nl.NetlinkRequest{plug(l)}
	if l.hairpin {
		reqs = append(reqs, setHairpin(l.host))
	}
	if err := c.Do(reqs...); err != nil {
		return fmt.Errorf("put link %s on the bridge: %w", l.host, err)
	}
	return nil
}

func (n *realNamespace) Inspect() (addrs []netip.Prefix, err error) {
	var h *netlink.Handle
	err = rtnl.Within(int(n.file.Fd()), func() error {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer h.Close()
	link, err := h.LinkByName(Iface)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", Iface, err)
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		return nil, fmt.Errorf("%s is down", Iface)
	}
	list, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(link, unix.AF_UNSPEC) })
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", Iface, err)
	}
	for _, a := range list {
		if p, ok := toPrefix(a.IPNet.IP, a.IPNet.Mask); ok {
			addrs = append(addrs, p)
		}
	}
	return addrs, nil
}

func addVeth(l linkSpec, nodeFD int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index, msg.Flags, msg.Change = ifaceIndex, unix.IFF_UP, unix.IFF_UP
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(Iface)))
	req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, l.podMAC))
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(l.mtu))))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(l.host))
	peer.AddRtAttr(unix.IFLA_ADDRESS, l.hostAddr)
	peer.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(l.mtu)))
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(nodeFD)))
	req.AddData(info)
	return req
}

// plug goes by name, since the index is not known.
func plug(l linkSpec) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Flags, msg.Change = unix.IFF_UP, unix.IFF_UP
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(l.host)))
	req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(l.bridge))))
	return req
}

func setHairpin(host string) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(host)))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, nl.NonZeroTerminated("bridge"))
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA, nil).AddRtAttr(nl.IFLA_BRPORT_MODE, []byte{1})
	req.AddData(info)
	return req
}

func loopbackUp() *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index, msg.Flags, msg.Change = 1, unix.IFF_UP, unix.IFF_UP
	req.AddData(msg)
	return req
}

func addAddr(p netip.Prefix) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	family := unix.AF_INET
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	msg := nl.NewIfAddrmsg(family)
	msg.Prefixlen, msg.Index = uint8(p.Bits()), ifaceIndex
	ip := p.Addr().AsSlice()
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, ip))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, ip))
	if p.Addr().Is6() {
		// The allocator gave it to nobody else: no wait for duplicate detection.
		msg.Flags = unix.IFA_F_NODAD
	} else {
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, broadcast(p)))
	}
	return req
}

func broadcast(p netip.Prefix) []byte {
	b := p.Addr().As4()
	host := uint32(1)<<(32-p.Bits()) - 1
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|host)
	return b[:]
}

func addDefault(via netip.Addr) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	msg := nl.NewRtMsg() // table main, scope universe, type unicast, protocol boot
	msg.Family = unix.AF_INET
	if via.Is6() {
		msg.Family = unix.AF_INET6
	}
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, via.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(ifaceIndex)))
	return req
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
