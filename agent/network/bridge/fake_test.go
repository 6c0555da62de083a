package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/network/hostport"
)

var errFake = errors.New("the fake fails")

// fake is a kernel of lists: it prints one operation a line and fails the n-th.
type fake struct {
	mu     sync.Mutex
	log    []string
	failAt int // 0: never
	links  map[string]bool
	ports  map[string]bool
	open   int
	bridge int
	survey survey
	onLink error // what Connect answers once
}

func newFake() *fake {
	return &fake{links: map[string]bool{}, ports: map[string]bool{}, survey: survey{mtu: 1400, ipv6: true}}
}

func (f *fake) driver(o Options) *Driver {
	o.Bridge, o.NFTable, o.Log = "slipway-t", "slipway-t", quiet()
	d, err := New(o)
	if err != nil {
		panic(err)
	}
	d.kernel = f
	d.ports = func(hostport.Config) portTable { return fakeTable{f} }
	return d
}

// op records an operation and does it, unless it is the one that fails.
func (f *fake) op(do func(), format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, fmt.Sprintf(format, args...))
	if f.failAt > 0 && len(f.log) == f.failAt {
		return errFake
	}
	do()
	return nil
}

// left is what a failed set-up must not leave.
func (f *fake) left() []string {
	var out []string
	for l := range f.links {
		out = append(out, "link "+l)
	}
	for p := range f.ports {
		out = append(out, "ports of "+p)
	}
	if f.open != 0 {
		out = append(out, fmt.Sprintf("%d open namespaces", f.open))
	}
	slices.Sort(out)
	return out
}

func (f *fake) Survey(string) (survey, error) {
	s := f.survey
	err := f.op(func() {
		s.bridge = f.bridge
		for l := range f.links {
			s.links = append(s.links, l)
		}
	}, "survey")
	return s, err
}

func (f *fake) MakeBridge(b bridgeSpec) ([]string, int, error) {
	err := f.op(func() { f.bridge++ }, "make bridge %s mtu %d %v", b.name, b.mtu, b.gateways)
	return nil, f.bridge, err
}

func (f *fake) Open(netns string, ipv6 bool) (namespace, error) {
	err := f.op(func() { f.open++ }, "open %s ipv6 %v", netns, ipv6)
	return fakeNamespace{f}, err
}

func (f *fake) Plug(l linkSpec) error {
	if l.bridge != f.bridge {
		return errors.New("no such bridge")
	}
	return f.op(func() {}, "plug %s hairpin %v", l.host, l.hairpin)
}

func (f *fake) DeleteLink(name string) error {
	return f.op(func() { delete(f.links, name) }, "delete link %s", name)
}

type fakeNamespace struct{ f *fake }

func (n fakeNamespace) Connect(l linkSpec, in insideSpec) error {
	if err := n.f.onLink; err != nil {
		n.f.onLink = nil
		return err
	}
	// Half of the batch may be carried out: the link is there although the call failed.
	n.f.links[l.host] = true
	return n.f.op(func() {}, "connect %s %s %v via %v", l.host, l.podMAC, in.ips, in.gateways)
}

func (n fakeNamespace) Inspect() ([]netip.Prefix, error) { return nil, errFake }
func (n fakeNamespace) Close() error                     { n.f.open--; return nil }

type fakeTable struct{ f *fake }

func (t fakeTable) Ensure() error { return t.f.op(func() {}, "ensure table") }
func (t fakeTable) Add(pod string, a []netip.Addr, p []network.PortMapping) error {
	return t.f.op(func() { t.f.ports[pod] = true }, "add %d ports %v", len(p), a)
}
func (t fakeTable) Remove(pod string) error {
	return t.f.op(func() { delete(t.f.ports, pod) }, "remove ports")
}
func (t fakeTable) Reset(pods []hostport.Pod) ([]hostport.Refusal, error) {
	return nil, t.f.op(func() {}, "reset ports of %d pods", len(pods))
}
func (t fakeTable) Has(string) error { return nil }
func (t fakeTable) Delete() error    { return t.f.op(func() {}, "delete table") }
func (t fakeTable) Close() error     { return nil }

func (f *fake) text() string { return strings.Join(f.log, "\n") + "\n" }
