package hostport

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix" // protocol numbers

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
)

var both = []netip.Addr{netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("fd09::2")}

func mapping(proto, host string, hostPort, containerPort uint16) network.PortMapping {
	m := network.PortMapping{Protocol: proto, HostPort: hostPort, ContainerPort: containerPort}
	if host != "" {
		m.HostIP = netip.MustParseAddr(host)
	}
	return m
}

func TestExpand(t *testing.T) {
	for name, c := range map[string]struct {
		ports []network.PortMapping
		want  []string
		err   error
	}{
		"both families":             {ports: []network.PortMapping{mapping("tcp", "", 80, 8080)}, want: []string{"*:80/tcp → 10.9.0.2:8080", "*:80/tcp → [fd09::2]:8080"}},
		"one address":               {ports: []network.PortMapping{mapping("UDP", "127.0.0.1", 53, 53)}, want: []string{"127.0.0.1:53/udp → 10.9.0.2:53"}},
		"all of IPv4":               {ports: []network.PortMapping{mapping("sctp", "0.0.0.0", 5, 6)}, want: []string{"*:5/sctp → 10.9.0.2:6"}},
		"all of IPv6":               {ports: []network.PortMapping{mapping("tcp", "::", 5, 6)}, want: []string{"*:5/tcp → [fd09::2]:6"}},
		"mapped address":            {ports: []network.PortMapping{mapping("tcp", "::ffff:127.0.0.1", 5, 6)}, want: []string{"127.0.0.1:5/tcp → 10.9.0.2:6"}},
		"no host port":              {ports: []network.PortMapping{mapping("tcp", "", 0, 80)}},
		"the same twice":            {ports: []network.PortMapping{mapping("tcp", "::", 5, 6), mapping("tcp", "::", 5, 6)}, want: []string{"*:5/tcp → [fd09::2]:6"}},
		"tcp and udp":               {ports: []network.PortMapping{mapping("tcp", "0.0.0.0", 53, 53), mapping("udp", "0.0.0.0", 53, 53)}, want: []string{"*:53/tcp → 10.9.0.2:53", "*:53/udp → 10.9.0.2:53"}},
		"contradiction":             {ports: []network.PortMapping{mapping("tcp", "", 5, 6), mapping("tcp", "", 5, 7)}, err: lifecycle.ErrInvalid},
		"contradiction by address":  {ports: []network.PortMapping{mapping("tcp", "", 5, 6), mapping("tcp", "127.0.0.1", 5, 6)}, err: lifecycle.ErrInvalid},
		"no container port":         {ports: []network.PortMapping{mapping("tcp", "", 5, 0)}, err: lifecycle.ErrInvalid},
		"unknown protocol":          {ports: []network.PortMapping{mapping("icmp", "", 5, 6)}, err: lifecycle.ErrInvalid},
		"two addresses, one number": {ports: []network.PortMapping{mapping("tcp", "127.0.0.1", 5, 6), mapping("tcp", "127.0.0.2", 5, 7)}, want: []string{"127.0.0.1:5/tcp → 10.9.0.2:6", "127.0.0.2:5/tcp → 10.9.0.2:7"}},
	} {
		t.Run(name, func(t *testing.T) {
			entries, err := expand(both, c.ports)
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if c.err != nil {
				return
			}
			var got []string
			for _, e := range entries {
				got = append(got, fmt.Sprintf("%s → %s", e.name(), e.target))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := expand(both[:1], []network.PortMapping{mapping("tcp", "::1", 5, 6)}); !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("IPv6 port of an IPv4 pod: %v, want invalid", err)
	}
}

func TestConflicts(t *testing.T) {
	b := newBook()
	add := func(pod string, m network.PortMapping) error {
		_, err := b.add(pod, both, []network.PortMapping{m})
		return err
	}
	if err := add("one", mapping("tcp", "", 80, 80)); err != nil {
		t.Fatal(err)
	}
	for _, m := range []network.PortMapping{
		mapping("tcp", "", 80, 81), mapping("tcp", "127.0.0.1", 80, 80), mapping("tcp", "::1", 80, 80),
	} {
		if err := add("two", m); !errors.Is(err, lifecycle.ErrExhausted) || !strings.Contains(err.Error(), "pod one") {
			t.Errorf("%+v: %v; want exhausted, naming pod one", m, err)
		}
	}
	if err := add("two", mapping("udp", "", 80, 80)); err != nil {
		t.Error("the same number of another protocol:", err)
	}
	if err := add("two", mapping("tcp", "", 81, 80)); !errors.Is(err, lifecycle.ErrExists) {
		t.Errorf("a pod twice: %v, want exists", err)
	}
	b.remove("one")
	b.remove("one")
	if err := add("three", mapping("tcp", "127.0.0.1", 80, 80)); err != nil {
		t.Error("a freed port:", err)
	}
	if err := add("four", mapping("tcp", "127.0.0.2", 80, 80)); err != nil {
		t.Error("the same number of another address:", err)
	}
	b.remove("two")
	b.remove("three")
	b.remove("four")
	if len(b.byPod)+len(b.held) > 0 {
		t.Errorf("left: %v, %v", b.byPod, b.held)
	}
}

func TestElements(t *testing.T) {
	for _, c := range []struct {
		m        network.PortMapping
		key, val string
	}{
		{mapping("tcp", "0.0.0.0", 0x1234, 0x50), "06000000 12340000", "0a090002 00500000"},
		{mapping("sctp", "127.0.0.1", 1, 2), "7f000001 84000000 00010000", "0a090002 00020000"},
		{mapping("udp", "::", 1, 2), "11000000 00010000", "fd090000000000000000000000000002 00020000"},
	} {
		entries, err := expand(both, []network.PortMapping{c.m})
		if err != nil || len(entries) != 1 {
			t.Fatalf("%v, %v", entries, err)
		}
		el := element(entries[0])
		key, val := fmt.Sprintf("%x", el.Key), fmt.Sprintf("%x", el.Val)
		if key != strings.ReplaceAll(c.key, " ", "") || val != strings.ReplaceAll(c.val, " ", "") {
			t.Errorf("%s: key %s, value %s; want %s, %s", entries[0].name(), key, val, c.key, c.val)
		}
	}
}

func TestFlowFilter(t *testing.T) {
	flow := func(proto uint8, dst string, port uint16, answers string) *netlink.ConntrackFlow {
		f := &netlink.ConntrackFlow{}
		f.Forward.Protocol, f.Forward.DstPort = proto, port
		f.Forward.DstIP = netip.MustParseAddr(dst).AsSlice()
		f.Reverse.SrcIP = netip.MustParseAddr(answers).AsSlice()
		return f
	}
	e := entry{proto: unix.IPPROTO_UDP, port: 53, target: netip.MustParseAddrPort("10.9.0.2:53")}
	at := e
	at.host = netip.MustParseAddr("192.0.2.1")
	node := map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true}
	for _, c := range []struct {
		name string
		kind flowKind
		e    entry
		flow *netlink.ConntrackFlow
		want bool
	}{
		{"to the node itself", stale, e, flow(unix.IPPROTO_UDP, "192.0.2.1", 53, "192.0.2.1"), true},
		{"to the node's loopback", stale, e, flow(unix.IPPROTO_UDP, "127.0.0.1", 53, "127.0.0.1"), true},
		{"to a name server elsewhere", stale, e, flow(unix.IPPROTO_UDP, "192.0.2.53", 53, "192.0.2.53"), false},
		{"to another pod", stale, e, flow(unix.IPPROTO_UDP, "192.0.2.1", 53, "10.9.0.3"), false},
		{"another port", stale, e, flow(unix.IPPROTO_UDP, "192.0.2.1", 54, "192.0.2.1"), false},
		{"tcp", stale, e, flow(unix.IPPROTO_TCP, "192.0.2.1", 53, "192.0.2.1"), false},
		{"another address", stale, at, flow(unix.IPPROTO_UDP, "127.0.0.1", 53, "127.0.0.1"), false},
		{"to the pod", translated, e, flow(unix.IPPROTO_UDP, "192.0.2.1", 53, "10.9.0.2"), true},
		{"to the pod directly", translated, e, flow(unix.IPPROTO_UDP, "10.9.0.2", 8053, "10.9.0.2"), false},
		{"to the next pod", translated, e, flow(unix.IPPROTO_UDP, "192.0.2.1", 53, "10.9.0.3"), false},
	} {
		f := &flowFilter{kind: c.kind, entries: []entry{c.e}, local: node}
		if got := f.MatchConntrackFlow(c.flow); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
