package hostport

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix" // protocol and family numbers
)

// flowKind says which flows to a host port are wrong now.
type flowKind int

const (
	// stale flows began before the mapping and go to the node itself. UDP has no
	// connections: a client that keeps sending would never reach the pod.
	stale flowKind = iota
	// translated flows go to the pod that had the port and would go on doing so.
	translated
)

// forgetFlows removes conntrack entries of UDP ports. Without conntrack's netlink
// interface they end by themselves, 30 to 120 s after the last packet; that is logged.
func (t *Table) forgetFlows(entries []entry, kind flowKind) {
	f := map[bool]*flowFilter{}
	for _, e := range entries {
		if e.proto != unix.IPPROTO_UDP {
			continue
		}
		if f[e.v4()] == nil {
			f[e.v4()] = &flowFilter{kind: kind, local: map[netip.Addr]bool{}}
		}
		f[e.v4()].entries = append(f[e.v4()].entries, e)
	}
	for v4, filter := range f {
		family := netlink.InetFamily(unix.AF_INET)
		if !v4 {
			family = unix.AF_INET6
		}
		if kind == stale {
			filter.loadLocal(int(family))
		}
		if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, filter); err != nil {
			t.c.Log.Warnf("network: flows of UDP host ports may go astray for two minutes: flush conntrack: %v", err)
		}
	}
}

type flowFilter struct {
	kind    flowKind
	entries []entry
	local   map[netip.Addr]bool
}

// loadLocal reads the node's addresses, so that flows from the node's processes to the
// same port of other machines are left alone.
func (f *flowFilter) loadLocal(family int) {
	list, _ := netlink.AddrList(nil, family) // an incomplete list spares flows, no more
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			f.local[ip.Unmap()] = true
		}
	}
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f *flowFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	dst, from := toAddr(flow.Forward.DstIP), toAddr(flow.Reverse.SrcIP)
	for _, e := range f.entries {
		if flow.Forward.DstPort != e.port || e.host.IsValid() && e.host != dst {
			continue
		}
		switch f.kind {
		case stale:
			if from == dst && (f.local[dst] || dst.IsLoopback()) {
				return true
			}
		case translated:
			if from == e.target.Addr() {
				return true
			}
		}
	}
	return false
}

func toAddr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
