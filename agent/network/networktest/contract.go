package networktest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
)

// Subject is a driver under test.
type Subject struct {
	Name string // a part of the names of all that it makes
	// Open returns a driver that stands for one run of an agent; opened again with the
	// same dir, it is that agent restarted. Recover has not been called.
	Open func(t testing.TB, dir string) network.Network
	// Purge removes what the driver keeps when all pods are gone.
	Purge func(t testing.TB, n network.Network)
	IPv6  bool // pods get an IPv6 address
	Ports bool // host ports can work here
	// NamesHolder: a conflict of host ports is refused, and the error names the holder.
	NamesHolder bool
	// Parallel is the number of set-ups at once.
	Parallel int
}

// Contract runs the suite.
func Contract(t *testing.T, s Subject) {
	for _, c := range []struct {
		name string
		run  func(*bench, *testing.T)
	}{
		{"connects pods and node", (*bench).connects},
		{"tears down repeatedly and without the namespace", (*bench).tearsDown},
		{"fails without leaving anything", (*bench).fails},
		{"recovers", (*bench).recovers},
		{"sets up in parallel", (*bench).parallel},
		{"host ports", (*bench).hostPorts},
		{"host port conflict", (*bench).conflict},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			Balance(t, s.Name, dir)
			b := &bench{Subject: s, dir: dir, n: s.Open(t, dir)}
			t.Cleanup(func() { s.Purge(t, b.n) })
			if err := b.n.Recover(context.Background(), nil); err != nil {
				t.Fatal("Recover:", err)
			}
			if err := b.n.Ready(); err != nil {
				t.Fatal("Ready:", err)
			}
			c.run(b, t)
		})
	}
}

type bench struct {
	Subject
	dir string
	n   network.Network
}

type pod struct {
	network.Pod
	ns *Namespace
}

func (p *pod) addr(v4 bool) netip.Addr {
	for _, ip := range p.Previous.IPs {
		if ip.Addr().Is4() == v4 {
			return ip.Addr()
		}
	}
	return netip.Addr{}
}

func (b *bench) blank(t testing.TB, i int, ports ...network.PortMapping) *pod {
	t.Helper()
	id := fmt.Sprintf("%08x%056x", i*7919+1, i)
	ns := NewNamespace(t, b.dir, fmt.Sprintf("ns%d", i))
	return &pod{ns: ns, Pod: network.Pod{
		ID: id, Name: fmt.Sprintf("pod%d", i), Namespace: "default", UID: fmt.Sprintf("uid%d", i), NetNS: ns.Path, Ports: ports,
	}}
}

// start sets up a pod that is torn down at the test's end.
func (b *bench) start(t testing.TB, i int, ports ...network.PortMapping) *pod {
	t.Helper()
	p := b.blank(t, i, ports...)
	b.setup(t, p)
	return p
}

func (b *bench) setup(t testing.TB, p *pod) {
	t.Helper()
	res, err := b.n.Setup(context.Background(), p.Pod)
	if err != nil {
		t.Fatal("Setup:", err)
	}
	p.Previous = res
	t.Cleanup(func() { b.teardown(t, p) })
}

func (b *bench) teardown(t testing.TB, p *pod) {
	t.Helper()
	if err := b.n.Teardown(context.Background(), p.Pod); err != nil {
		t.Error("Teardown:", err)
	}
}

func (b *bench) families() []bool {
	if b.IPv6 {
		return []bool{true, false}
	}
	return []bool{true}
}

func (b *bench) connects(t *testing.T) {
	one, two := b.start(t, 1), b.start(t, 2)
	if one.Previous.Iface != "eth0" {
		t.Errorf("interface %q, want eth0", one.Previous.Iface)
	}
	if err := b.n.Check(context.Background(), one.Pod); err != nil {
		t.Error("Check:", err)
	}
	for i, v4 := range b.families() {
		a, gw := two.addr(v4), one.Previous.Gateways[i]
		port := Serve(t, two.ns, "tcp", netip.AddrPortFrom(a, 0))
		if from, err := Ask(one.ns, "tcp", netip.AddrPortFrom(a, port)); err != nil || from != one.addr(v4) {
			t.Errorf("pod to pod at %s: seen as %v, %v; want %s", a, from, err, one.addr(v4))
		}
		port = Serve(t, nil, "tcp", netip.AddrPortFrom(gw, 0))
		if from, err := Ask(one.ns, "tcp", netip.AddrPortFrom(gw, port)); err != nil || from != one.addr(v4) {
			t.Errorf("pod to its gateway %s: seen as %v, %v", gw, from, err)
		}
		world, node := World4, Node4
		if !v4 {
			world, node = World6, Node6
		}
		port = Serve(t, World(), "tcp", netip.AddrPortFrom(world, 0))
		if from, err := Ask(one.ns, "tcp", netip.AddrPortFrom(world, port)); err != nil || from != node {
			t.Errorf("pod to the world: seen as %v, %v; want the node's %s", from, err, node)
		}
		lo := netip.MustParseAddr("127.0.0.1")
		if !v4 {
			lo = netip.IPv6Loopback()
		}
		port = Serve(t, one.ns, "tcp", netip.AddrPortFrom(lo, 0))
		if _, err := Ask(one.ns, "tcp", netip.AddrPortFrom(lo, port)); err != nil {
			t.Errorf("loopback inside the pod: %v", err)
		}
	}
}

func (b *bench) tearsDown(t *testing.T) {
	p := b.start(t, 1)
	b.teardown(t, p)
	if err := b.n.Check(context.Background(), p.Pod); err == nil {
		t.Error("Check finds a pod that was torn down")
	}
	b.teardown(t, p)
	q := b.start(t, 2)
	q.ns.Remove()
	b.teardown(t, q)
	b.teardown(t, q)
	never := b.blank(t, 3)
	b.teardown(t, never)
}

func (b *bench) fails(t *testing.T) {
	p := b.blank(t, 1)
	p.NetNS += "-missing"
	if _, err := b.n.Setup(context.Background(), p.Pod); err == nil {
		t.Fatal("Setup succeeds without a namespace")
	}
	p.NetNS = p.ns.Path
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.n.Setup(ctx, p.Pod); !errors.Is(err, context.Canceled) {
		t.Errorf("Setup with an ended context: %v", err)
	}
	b.setup(t, p) // and now it works
}

func (b *bench) recovers(t *testing.T) {
	one, two, lost := b.start(t, 1), b.start(t, 2), b.start(t, 3)
	if err := b.n.Close(false); err != nil {
		t.Error("Close:", err)
	}
	b.n = b.Open(t, b.dir) // the agent again
	if err := b.n.Recover(context.Background(), []network.Pod{one.Pod, two.Pod}); err != nil {
		t.Fatal("Recover:", err)
	}
	if err := b.n.Check(context.Background(), lost.Pod); err == nil {
		t.Error("the connection of a pod that does not exist is still there")
	}
	for _, p := range []*pod{one, two} {
		if err := b.n.Check(context.Background(), p.Pod); err != nil {
			t.Error("Check after Recover:", err)
		}
	}
	var taken []netip.Prefix
	for i := range 4 {
		p := b.start(t, 10+i)
		taken = append(taken, p.Previous.IPs...)
	}
	for _, ip := range slices.Concat(one.Previous.IPs, two.Previous.IPs) {
		if slices.Contains(taken, ip) {
			t.Errorf("%s is given twice", ip)
		}
	}
	port := Serve(t, one.ns, "tcp", netip.AddrPortFrom(one.addr(true), 0))
	if _, err := Ask(two.ns, "tcp", netip.AddrPortFrom(one.addr(true), port)); err != nil {
		t.Error("pods of before Recover:", err)
	}
}

func (b *bench) parallel(t *testing.T) {
	pods := make([]*pod, b.Parallel)
	for i := range pods {
		pods[i] = b.blank(t, i+1)
	}
	each := func(f func(*pod) error) {
		var wg sync.WaitGroup
		for _, p := range pods {
			wg.Go(func() {
				if err := f(p); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	each(func(p *pod) (err error) {
		p.Previous, err = b.n.Setup(context.Background(), p.Pod)
		return err
	})
	seen := map[netip.Prefix]bool{}
	for _, p := range pods {
		if p.Previous == nil {
			continue
		}
		for _, ip := range p.Previous.IPs {
			if seen[ip] {
				t.Errorf("%s is given twice", ip)
			}
			seen[ip] = true
		}
	}
	if !t.Failed() {
		first, last := pods[0], pods[len(pods)-1]
		port := Serve(t, first.ns, "tcp", netip.AddrPortFrom(first.addr(true), 0))
		if _, err := Ask(last.ns, "tcp", netip.AddrPortFrom(first.addr(true), port)); err != nil {
			t.Error("pod to pod:", err)
		}
	}
	each(func(p *pod) error { return b.n.Teardown(context.Background(), p.Pod) })
}

func (b *bench) hostPorts(t *testing.T) {
	if !b.Ports {
		t.Skip("the driver's host ports cannot work on this machine")
	}
	server := b.start(t, 1, network.PortMapping{Protocol: "tcp", HostPort: 8080, ContainerPort: 80},
		network.PortMapping{Protocol: "udp", HostPort: 8053, ContainerPort: 53})
	client := b.start(t, 2)
	for _, v4 := range b.families() {
		Serve(t, server.ns, "tcp", netip.AddrPortFrom(server.addr(v4), 80))
		Serve(t, server.ns, "udp", netip.AddrPortFrom(server.addr(v4), 53))
		node, from := Node4, map[string]*Namespace{"node": nil, "world": World(), "other pod": client.ns, "the pod itself": server.ns}
		if !v4 {
			node = Node6
		}
		for who, ns := range from {
			if _, err := Ask(ns, "tcp", netip.AddrPortFrom(node, 8080)); err != nil {
				t.Errorf("%s to %s:8080/tcp: %v", who, node, err)
			}
			if _, err := Ask(ns, "udp", netip.AddrPortFrom(node, 8053)); err != nil {
				t.Errorf("%s to %s:8053/udp: %v", who, node, err)
			}
		}
	}
	if _, err := Ask(nil, "tcp", netip.MustParseAddrPort("127.0.0.1:8080")); err != nil {
		t.Error("node to 127.0.0.1:8080:", err)
	}
	b.teardown(t, server)
	if _, err := Ask(nil, "tcp", netip.MustParseAddrPort("127.0.0.1:8080")); err == nil {
		t.Error("the host port answers after Teardown")
	}
}

func (b *bench) conflict(t *testing.T) {
	if !b.NamesHolder {
		t.Skip("the driver's plugins do not look for conflicts")
	}
	m := network.PortMapping{Protocol: "tcp", HostPort: 8080, ContainerPort: 80}
	one := b.start(t, 1, m)
	two := b.blank(t, 2, m)
	_, err := b.n.Setup(context.Background(), two.Pod)
	if !errors.Is(err, lifecycle.ErrExhausted) || !containsText(err, one.ID) {
		t.Fatalf("Setup with a taken port: %v; want exhausted, naming %s", err, one.ID)
	}
	b.teardown(t, one)
	b.setup(t, two)
}

func containsText(err error, part string) bool { return strings.Contains(err.Error(), part) }
