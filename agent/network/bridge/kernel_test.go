package bridge

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/network/networktest"
)

// realDriver is a driver on the test host, purged at the end, with the books balanced.
func realDriver(t *testing.T) (n network.Network, dir string) {
	t.Helper()
	dir = t.TempDir()
	networktest.Balance(t, testLayout.Tag, dir)
	n = open(t, dir)
	t.Cleanup(func() {
		if err := n.Close(true); err != nil {
			t.Error("Close:", err)
		}
	})
	return n, dir
}

func startPod(t *testing.T, n network.Network, dir, id string, ports ...network.PortMapping) (network.Pod, *networktest.Namespace) {
	t.Helper()
	ns := networktest.NewNamespace(t, dir, id)
	p := network.Pod{ID: id, NetNS: ns.Path, Ports: ports}
	res, err := n.Setup(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	p.Previous = res
	return p, ns
}

// TestLoopbackIsGuarded sends from a pod to the node's 127.0.0.1 (CVE-2020-8558), and
// then again without the guard, to show that the way was open.
func TestLoopbackIsGuarded(t *testing.T) {
	n, dir := realDriver(t)
	p, ns := startPod(t, n, dir, "attacker")
	port := networktest.Serve(t, nil, "tcp", netip.MustParseAddrPort("127.0.0.1:0"))
	target := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	if err := ns.Do(func() error { return loopbackViaGateway(p.Previous) }); err != nil {
		t.Fatal(err)
	}
	if from, err := networktest.AskOnce(ns, "tcp", target, 300*time.Millisecond); err == nil {
		t.Errorf("the pod reached the node's loopback as %s", from)
	}
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	conn.FlushChain(&nftables.Chain{
		Table: &nftables.Table{Name: testLayout.NFTable(), Family: nftables.TableFamilyINet}, Name: "guard",
	})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := networktest.Ask(ns, "tcp", target); err != nil {
		t.Errorf("without the guard the test does not reach the node either: %v", err)
	}
}

// loopbackViaGateway is what a pod that holds CAP_NET_ADMIN can do.
func loopbackViaGateway(res *network.Result) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	eth, err := netlink.LinkByName(Iface)
	if err != nil {
		return err
	}
	_, all, err := net.ParseCIDR("127.0.0.0/8")
	if err != nil {
		return err
	}
	return errors.Join(
		netlink.AddrDel(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(127, 0, 0, 1), Mask: all.Mask}}),
		os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0),
		netlink.RouteAdd(&netlink.Route{Dst: all, Gw: res.Gateways[0].AsSlice(), LinkIndex: eth.Attrs().Index}),
	)
}

// TestUDPFlowsFollowThePort keeps one client socket, so that conntrack knows its flow,
// while the port goes from the node to a pod and to another.
func TestUDPFlowsFollowThePort(t *testing.T) {
	n, dir := realDriver(t)
	if _, err := n.(*Driver).ready(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	var client net.Conn
	if err := networktest.World().Do(func() (err error) {
		client, err = net.Dial("udp", netip.AddrPortFrom(networktest.Node4, 8053).String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	ask := func() error { // two sends: the first may bring an earlier ICMP error, or meet no carrier
		var err error
		for range 10 {
			_, _ = client.Write([]byte("?"))
			_ = client.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err = client.Read(make([]byte, 64)); err == nil {
				return nil
			}
		}
		return err
	}
	_, _ = client.Write([]byte("?")) // a flow to the node itself
	for _, id := range []string{"first", "second"} {
		p, ns := startPod(t, n, dir, id, network.PortMapping{Protocol: "udp", HostPort: 8053, ContainerPort: 53})
		networktest.Serve(t, ns, "udp", netip.AddrPortFrom(p.Previous.IPs[0].Addr(), 53))
		if err := ask(); err != nil {
			t.Errorf("%s pod: %v", id, err)
		}
		if err := n.Teardown(context.Background(), p); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadyPutsTheTableBack after a "flush ruleset", without disturbing the pods.
func TestReadyPutsTheTableBack(t *testing.T) {
	n, dir := realDriver(t)
	p, ns := startPod(t, n, dir, "web", network.PortMapping{Protocol: "tcp", HostPort: 8080, ContainerPort: 80})
	networktest.Serve(t, ns, "tcp", netip.AddrPortFrom(p.Previous.IPs[0].Addr(), 80))
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	conn.FlushRuleset() // of the test's own network namespace
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := n.Check(context.Background(), p); err == nil {
		t.Error("Check finds nothing wrong without the table")
	}
	if err := n.Ready(); err != nil {
		t.Fatal(err)
	}
	if err := n.Check(context.Background(), p); err != nil {
		t.Error(err)
	}
	if _, err := networktest.Ask(nil, "tcp", netip.MustParseAddrPort("127.0.0.1:8080")); err != nil {
		t.Error(err)
	}
}

// TestPodInside looks at what a pod finds: MTU of the uplink, no tentative address, and
// no belief in router advertisements.
func TestPodInside(t *testing.T) {
	n, dir := realDriver(t)
	_, ns := startPod(t, n, dir, "pod")
	err := ns.Do(func() error {
		eth, err := netlink.LinkByName(Iface)
		if err != nil {
			return err
		}
		if eth.Attrs().MTU != 1450 {
			t.Errorf("MTU %d, want the default route's 1450", eth.Attrs().MTU)
		}
		addrs, err := netlink.AddrList(eth, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		const tentative = 0x40 // IFA_F_TENTATIVE
		for _, a := range addrs {
			if !a.IP.IsLinkLocalUnicast() && a.Flags&tentative != 0 {
				t.Errorf("%s waits for duplicate detection", a.IP)
			}
		}
		if got := sysctl("net/ipv6/conf/" + Iface + "/accept_ra"); got != "0" {
			t.Errorf("accept_ra is %s, want 0", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := sysctl("net/ipv6/conf/" + testLayout.Bridge() + "/accept_ra"); got != "0" {
		t.Errorf("the bridge's accept_ra is %s, want 0", got)
	}
}

// TestBridgeDeletedByHand: pods set up later work.
func TestBridgeDeletedByHand(t *testing.T) {
	n, dir := realDriver(t)
	startPod(t, n, dir, "before")
	br, err := netlink.LinkByName(testLayout.Bridge())
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(br); err != nil {
		t.Fatal(err)
	}
	p, ns := startPod(t, n, dir, "after")
	port := networktest.Serve(t, nil, "tcp", netip.AddrPortFrom(p.Previous.Gateways[0], 0))
	if _, err := networktest.Ask(ns, "tcp", netip.AddrPortFrom(p.Previous.Gateways[0], port)); err != nil {
		t.Error(err)
	}
}

// TestPurgeRemovesPods: Close(true) of an agent that is taken down with pods on it.
func TestPurgeRemovesPods(t *testing.T) {
	n, dir := realDriver(t)
	startPod(t, n, dir, "one")
	startPod(t, n, dir, "two")
	if err := n.Close(true); err != nil {
		t.Fatal(err)
	}
	if links := networktest.Links(testLayout.Tag); len(links) > 0 {
		t.Errorf("left: %v", links)
	}
}
