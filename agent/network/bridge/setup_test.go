package bridge

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix" // errno values

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
)

var subnets = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/29"), netip.MustParsePrefix("fd09::/64")}

var web = network.Pod{
	ID: "0123456789abcdef", NetNS: "/ns",
	Ports: []network.PortMapping{{Protocol: "tcp", HostPort: 80, ContainerPort: 80}},
}

func TestSetupOperations(t *testing.T) {
	f := newFake()
	d := f.driver(Options{Subnets: subnets, Tag: "abcdef"})
	res, err := d.Setup(context.Background(), web)
	if err != nil {
		t.Fatal(err)
	}
	pod := web
	pod.Previous = res
	if err := d.Teardown(context.Background(), pod); err != nil {
		t.Fatal(err)
	}
	want := `survey
ensure table
make bridge slipway-t mtu 1400 [10.9.0.1/29 fd09::1/64]
add 1 ports [10.9.0.2 fd09::2]
open /ns ipv6 true
connect swabcdef0123456 0a:53:0a:09:00:02 [10.9.0.2/29 fd09::2/64] via [10.9.0.1 fd09::1]
plug swabcdef0123456 hairpin true
remove ports
delete link swabcdef0123456
`
	if diff := cmp.Diff(want, f.text()); diff != "" {
		t.Error(diff)
	}
	wantRes := &network.Result{
		IPs:   []netip.Prefix{netip.MustParsePrefix("10.9.0.2/29"), netip.MustParsePrefix("fd09::2/64")},
		Iface: "eth0", HostIface: "swabcdef0123456",
		Gateways: []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd09::1")},
	}
	if diff := cmp.Diff(wantRes, res, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

// TestSetupFailsAtEachStep fails the n-th operation, for every n.
func TestSetupFailsAtEachStep(t *testing.T) {
	for n := 1; ; n++ {
		f := newFake()
		f.failAt = n
		d := f.driver(Options{Subnets: subnets})
		_, err := d.Setup(context.Background(), web)
		if err == nil {
			if n < 8 {
				t.Fatalf("Setup has %d operations only", n-1)
			}
			return
		}
		if !errors.Is(err, errFake) {
			t.Errorf("step %d: %v does not wrap the cause", n, err)
		}
		if left := f.left(); len(left) > 0 {
			t.Errorf("step %d leaves %v after\n%s", n, left, f.text())
		}
		if len(d.pods)+len(d.names) > 0 {
			t.Errorf("step %d leaves the pod on the books", n)
		}
		if node := d.made(); node != nil && node.pools[0].Taken()+node.pools[1].Taken() > 0 {
			t.Errorf("step %d leaves addresses taken", n)
		}
		if _, err := d.Setup(context.Background(), web); err != nil {
			t.Errorf("step %d: the next try: %v", n, err)
		}
	}
}

// TestTeardownFailsAtEachStep: what could not be removed stays on the books for a retry.
func TestTeardownFailsAtEachStep(t *testing.T) {
	for step := 1; step <= 2; step++ {
		f := newFake()
		d := f.driver(Options{Subnets: subnets})
		res, err := d.Setup(context.Background(), web)
		if err != nil {
			t.Fatal(err)
		}
		pod := web
		pod.Previous = res
		f.failAt = len(f.log) + step
		if err := d.Teardown(context.Background(), pod); !errors.Is(err, errFake) {
			t.Errorf("step %d: %v", step, err)
		}
		if d.made().pools[0].Taken() != 1 {
			t.Errorf("step %d: the address is free although the link may be there", step)
		}
		if err := d.Teardown(context.Background(), pod); err != nil {
			t.Errorf("step %d: the next try: %v", step, err)
		}
		if left := f.left(); len(left) > 0 || d.made().pools[0].Taken() != 0 {
			t.Errorf("step %d leaves %v", step, left)
		}
	}
}

func TestSetupTwice(t *testing.T) {
	d := newFake().driver(Options{Subnets: subnets})
	if _, err := d.Setup(context.Background(), web); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Setup(context.Background(), web); !errors.Is(err, lifecycle.ErrExists) {
		t.Errorf("%v, want exists", err)
	}
}

func TestExhaustion(t *testing.T) {
	f := newFake()
	d := f.driver(Options{Subnets: subnets}) // a /29: five pods
	for i := range 5 {
		if _, err := d.Setup(context.Background(), network.Pod{ID: string(rune('a' + i))}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := d.Setup(context.Background(), network.Pod{ID: "one too many"})
	if !errors.Is(err, lifecycle.ErrExhausted) {
		t.Errorf("%v, want exhausted", err)
	}
	if n := d.made().pools[1].Taken(); n != 5 {
		t.Errorf("%d IPv6 addresses are taken, want 5: the failed pod keeps one", n)
	}
	more := newFake().driver(Options{Subnets: append(slices.Clone(subnets), netip.MustParsePrefix("10.9.1.0/29"))})
	for i := range 6 {
		res, err := more.Setup(context.Background(), network.Pod{ID: string(rune('a' + i))})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.IPs) != 2 {
			t.Errorf("pod %d has %v, want one address of each family", i, res.IPs)
		}
	}
}

// TestLeftoverLink: a link with the pod's name that no pod has is replaced.
func TestLeftoverLink(t *testing.T) {
	f := newFake()
	f.onLink = unix.EEXIST
	d := f.driver(Options{Subnets: subnets})
	if _, err := d.Setup(context.Background(), web); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(f.log, "delete link sw-0123456789ab") {
		t.Errorf("the leftover was not removed:\n%s", f.text())
	}
}

// TestNameCollision: two IDs that begin alike get different links, and each Teardown
// removes its own.
func TestNameCollision(t *testing.T) {
	f := newFake()
	d := f.driver(Options{Subnets: subnets, Tag: "abcdef"})
	a, b := network.Pod{ID: "0123456aaaaaaaaa"}, network.Pod{ID: "0123456bbbbbbbbb"}
	for _, p := range []*network.Pod{&a, &b} {
		res, err := d.Setup(context.Background(), *p)
		if err != nil {
			t.Fatal(err)
		}
		p.Previous = res
	}
	if a.Previous.HostIface == b.Previous.HostIface {
		t.Fatalf("both have link %s", a.Previous.HostIface)
	}
	stranger := network.Pod{ID: "0123456ccccccccc"}
	if err := d.Teardown(context.Background(), stranger); err != nil {
		t.Fatal(err)
	}
	if err := d.Teardown(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if !f.links[a.Previous.HostIface] || f.links[b.Previous.HostIface] {
		t.Errorf("links after the teardown of %s: %v", b.Previous.HostIface, f.links)
	}
}

// TestBridgeGone: somebody deletes the bridge; the next pod gets it made again.
func TestBridgeGone(t *testing.T) {
	f := newFake()
	d := f.driver(Options{Subnets: subnets})
	if _, err := d.Setup(context.Background(), network.Pod{ID: "before"}); err != nil {
		t.Fatal(err)
	}
	f.bridge = 41
	res, err := d.Setup(context.Background(), web)
	if err != nil {
		t.Fatal(err)
	}
	if d.made().index != 42 || res.IPs[0].Addr() == netip.MustParseAddr("10.9.0.2") {
		t.Errorf("index %d, addresses %v", d.made().index, res.IPs)
	}
	if left := f.left(); len(left) != 3 { // two links, one pod's ports
		t.Errorf("left: %v", left)
	}
}

func TestRecover(t *testing.T) {
	f := newFake()
	f.bridge = 3
	f.survey.addrs = []netip.Prefix{netip.MustParsePrefix("10.77.0.1/16"), netip.MustParsePrefix("fe80::1/64")}
	f.links = map[string]bool{"sw-0123456789ab": true, "sw-000000000000": true, "swabcdef0000000": true, "eth0": true}
	d := f.driver(Options{})
	known := web
	known.Previous = &network.Result{HostIface: "sw-0123456789ab", IPs: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/16")}}
	of := known
	of.ID, of.Previous = "cni", &network.Result{Raw: []byte("{}")}
	if err := d.Recover(context.Background(), []network.Pod{known, of, {ID: "cut off"}}); err != nil {
		t.Fatal(err)
	}
	want := []string{"link eth0", "link sw-0123456789ab", "link swabcdef0000000"}
	if diff := cmp.Diff(want, f.left()); diff != "" {
		t.Error(diff)
	}
	res, err := d.Setup(context.Background(), network.Pod{ID: "next"})
	if err != nil {
		t.Fatal(err)
	}
	if got := res.IPs[0].String(); got != "10.77.0.3/16" {
		t.Errorf("address %s, want the one behind the known pod's in the bridge's subnet", got)
	}
	if !slices.Contains(f.log, "reset ports of 1 pods") {
		t.Errorf("ports were not reset:\n%s", f.text())
	}
}
