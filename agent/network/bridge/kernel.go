package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix" // address flags and errno values

	"github.com/slipway-cri/slipway/agent/network/rtnl"
)

// kernel is what the driver asks of the kernel; a fake records it in tests.
type kernel interface {
	// Survey looks at the node: routes, links, the bridge if it is there.
	Survey(bridge string) (survey, error)
	// MakeBridge makes or completes the bridge; changed are the sysctls switched on.
	MakeBridge(b bridgeSpec) (changed []string, index int, err error)
	// Open enters a pod's namespace; the caller closes what it gets.
	Open(netns string, ipv6 bool) (namespace, error)
	// Plug puts the pair's outer end on the bridge and up.
	Plug(l linkSpec) error
	// DeleteLink removes a link; no error when there is none.
	DeleteLink(name string) error
}

// namespace is a pod's network namespace, entered.
type namespace interface {
	// Connect makes the pair and configures the inside; after an error both or neither
	// end may be there.
	Connect(l linkSpec, in insideSpec) error
	Inspect() ([]netip.Prefix, error) // the inner end's addresses; an error when it is down
	Close() error
}

type survey struct {
	routes []netip.Prefix // destinations of all tables, and the node's own addresses
	links  []string
	bridge int            // index, 0 when there is none
	addrs  []netip.Prefix // the bridge's
	mtu    int            // of the default route's link
	ipv6   bool           // new links get IPv6
}

type bridgeSpec struct {
	name     string
	mtu      int
	gateways []netip.Prefix
}

type realKernel struct{}

func (realKernel) Survey(bridge string) (survey, error) {
	s := survey{mtu: 1500, ipv6: sysctl("net/ipv6/conf/default/disable_ipv6") == "0" && sysctl("net/ipv6/conf/all/disable_ipv6") == "0"}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return s, fmt.Errorf("open rtnetlink: %w", err)
	}
	defer h.Close()
	links, err := dump(func() ([]netlink.Link, error) { return h.LinkList() })
	if err != nil {
		return s, fmt.Errorf("list links: %w", err)
	}
	mtu := map[int]int{}
	for _, l := range links {
		a := l.Attrs()
		s.links = append(s.links, a.Name)
		mtu[a.Index] = a.MTU
		if a.Name != bridge {
			continue
		}
		if l.Type() != "bridge" {
			return s, fmt.Errorf("link %s is a %s, not a bridge", bridge, l.Type())
		}
		s.bridge = a.Index
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return s, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		p, ok := toPrefix(a.IPNet.IP, a.IPNet.Mask)
		switch {
		case !ok:
		case a.LinkIndex == s.bridge && s.bridge != 0:
			s.addrs = append(s.addrs, p)
		default:
			s.routes = append(s.routes, p)
		}
	}
	return s, s.addRoutes(h, mtu)
}

func (s *survey) addRoutes(h *netlink.Handle, mtu map[int]int) error {
	all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	routes, err := dump(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(unix.AF_UNSPEC, all, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	found := false
	for _, r := range routes {
		if r.LinkIndex == s.bridge && s.bridge != 0 || r.Type != unix.RTN_UNICAST {
			continue
		}
		var p netip.Prefix
		if r.Dst != nil {
			p, _ = toPrefix(r.Dst.IP, r.Dst.Mask)
		}
		if p.IsValid() && p.Bits() > 0 {
			s.routes = append(s.routes, p)
		} else if m := mtu[r.LinkIndex]; m > 0 && !found {
			s.mtu, found = m, true
		}
	}
	return nil
}

// dump repeats a dump that changed under way (NLM_F_DUMP_INTR); the last one is taken as
// it is, since a busy node may never hold still.
func dump[T any](list func() ([]T, error)) (out []T, err error) {
	for range 3 {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, nil
}

func toPrefix(ip []byte, mask []byte) (netip.Prefix, bool) {
	a, ok := netip.AddrFromSlice(ip)
	ones := 0
	for _, b := range mask {
		for ; b != 0; b <<= 1 {
			ones++
		}
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, ones), ok && ones <= a.BitLen()
}

func (realKernel) MakeBridge(b bridgeSpec) (changed []string, index int, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, 0, fmt.Errorf("open rtnetlink: %w", err)
	}
	defer h.Close()
	snooping := false // pods' multicast is rare; without it neighbour discovery needs no querier
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = b.name, b.mtu
	attrs.HardwareAddr = hardwareAddr(podSide, b.gateways[0].Addr())
	br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	fresh := true
	if err := h.LinkAdd(br); errors.Is(err, unix.EEXIST) {
		fresh = false
	} else if err != nil {
		return nil, 0, fmt.Errorf("add bridge %s: %w", b.name, err)
	}
	defer func() {
		if err != nil && fresh {
			_ = h.LinkDel(br)
		}
	}()
	link, err := h.LinkByName(b.name)
	if err != nil {
		return nil, 0, fmt.Errorf("find bridge %s: %w", b.name, err)
	}
	if link.Type() != "bridge" {
		return nil, 0, fmt.Errorf("link %s is a %s, not a bridge", b.name, link.Type())
	}
	if changed, err = bridgeSysctls(b); err != nil {
		return nil, 0, err
	}
	for _, g := range b.gateways {
		a := &netlink.Addr{IPNet: toIPNet(g)}
		if g.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrReplace(link, a); err != nil {
			return nil, 0, fmt.Errorf("add %s to %s: %w", g, b.name, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return nil, 0, fmt.Errorf("bring up %s: %w", b.name, err)
	}
	return changed, link.Attrs().Index, nil
}

// bridgeSysctls prepares the bridge's interface, and switches on forwarding where it is off.
func bridgeSysctls(b bridgeSpec) (changed []string, err error) {
	for _, g := range b.gateways {
		conf, forward := "net/ipv4/conf/"+b.name+"/route_localnet", "net/ipv4/ip_forward"
		want := "1" // 127.0.0.1:hostPort is routed to the bridge; hostport's guard goes with it
		if g.Addr().Is6() {
			// A pod must not be able to advertise itself as the node's router (CVE-2020-10749).
			conf, forward, want = "net/ipv6/conf/"+b.name+"/accept_ra", "net/ipv6/conf/all/forwarding", "0"
		}
		if err := setSysctl(conf, want); err != nil {
			return nil, err
		}
		if sysctl(forward) == "0" {
			if err := setSysctl(forward, "1"); err != nil {
				return nil, err
			}
			changed = append(changed, forward)
		}
	}
	return changed, nil
}

func (realKernel) DeleteLink(name string) error {
	if err := rtnl.DeleteLink(name); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

func (realKernel) Open(netns string, ipv6 bool) (namespace, error) {
	f, err := os.Open(netns)
	if err != nil {
		return nil, err
	}
	// Not /proc/self: the main thread may be away in a pod's namespace just now.
	node, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	ns := &realNamespace{file: f, node: node}
	err = rtnl.Within(int(f.Fd()), func() error {
		if ipv6 {
			// Nobody on this bridge is a router to be believed (see bridgeSysctls).
			if err := setSysctl("net/ipv6/conf/default/accept_ra", "0"); err != nil {
				return err
			}
		}
		ns.conn, err = rtnl.Dial()
		return err
	})
	if err != nil {
		_, _ = f.Close(), node.Close()
		return nil, fmt.Errorf("enter %s: %w", netns, err)
	}
	return ns, nil
}
