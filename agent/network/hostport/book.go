package hostport

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix" // protocol numbers

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
)

// entry is one element: packets for host (zero: any local address of the family) and
// port go to a pod.
type entry struct {
	proto  uint8
	host   netip.Addr // zero: all
	port   uint16
	target netip.AddrPort
}

// place is what only one pod can have.
type place struct {
	v4    bool
	proto uint8
	port  uint16
}

type holding struct {
	host netip.Addr
	pod  string
}

// book knows which pod has which port. It is pure and not safe for concurrent use.
type book struct {
	byPod map[string][]entry
	held  map[place][]holding
}

func newBook() *book {
	return &book{byPod: map[string][]entry{}, held: map[place][]holding{}}
}

// add enters a pod's ports, all or none.
func (b *book) add(podID string, addrs []netip.Addr, ports []network.PortMapping) ([]entry, error) {
	if len(b.byPod[podID]) > 0 {
		return nil, fmt.Errorf("host ports of pod %s are set: %w", podID, lifecycle.ErrExists)
	}
	entries, err := expand(addrs, ports)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		for _, h := range b.held[e.place()] {
			if h.host == e.host || !h.host.IsValid() || !e.host.IsValid() {
				return nil, fmt.Errorf("host port %s is taken by pod %s: %w", e.name(), h.pod, lifecycle.ErrExhausted)
			}
		}
	}
	for _, e := range entries {
		b.held[e.place()] = append(b.held[e.place()], holding{e.host, podID})
	}
	b.byPod[podID] = entries
	return entries, nil
}

// remove takes a pod off the book and returns what it had.
func (b *book) remove(podID string) []entry {
	entries := b.byPod[podID]
	delete(b.byPod, podID)
	for _, e := range entries {
		left := slices.DeleteFunc(b.held[e.place()], func(h holding) bool { return h.pod == podID })
		if b.held[e.place()] = left; len(left) == 0 {
			delete(b.held, e.place())
		}
	}
	return entries
}

// all lists every pod's entries, in the pods' order.
func (b *book) all() []entry {
	var ids []string
	for id := range b.byPod {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var out []entry
	for _, id := range ids {
		out = append(out, b.byPod[id]...)
	}
	return out
}

func (e entry) v4() bool     { return e.target.Addr().Is4() }
func (e entry) place() place { return place{e.v4(), e.proto, e.port} }

func (e entry) name() string {
	host := "*"
	if e.host.IsValid() {
		host = e.host.String()
	}
	return fmt.Sprintf("%s:%d/%s", host, e.port, protoName(e.proto))
}

// expand turns mappings into entries, one for each family that the mapping's host
// address and the pod's addresses have in common. A mapping without a host port (the
// kubelet sends the container's ports too) gives none; the same one twice counts once.
func expand(addrs []netip.Addr, ports []network.PortMapping) ([]entry, error) {
	var out []entry
	var errs []error
	for _, m := range ports {
		if m.HostPort == 0 {
			continue
		}
		es, err := expandOne(addrs, m)
		errs = append(errs, err)
		for _, e := range es {
			same := slices.IndexFunc(out, func(o entry) bool {
				return o.place() == e.place() && (o.host == e.host || !o.host.IsValid() || !e.host.IsValid())
			})
			switch {
			case same < 0:
				out = append(out, e)
			case out[same] != e:
				errs = append(errs, fmt.Errorf("host port %s is mapped twice: %w", e.name(), lifecycle.ErrInvalid))
			}
		}
	}
	return out, errors.Join(errs...)
}

func expandOne(addrs []netip.Addr, m network.PortMapping) ([]entry, error) {
	proto, ok := protocols[strings.ToLower(m.Protocol)]
	if !ok {
		return nil, fmt.Errorf("host port %d: protocol %q is none of tcp, udp and sctp: %w", m.HostPort, m.Protocol, lifecycle.ErrInvalid)
	}
	if m.ContainerPort == 0 {
		return nil, fmt.Errorf("host port %d: no container port: %w", m.HostPort, lifecycle.ErrInvalid)
	}
	host := m.HostIP.Unmap().WithZone("")
	var out []entry
	seen := map[bool]bool{}
	for _, a := range addrs {
		if seen[a.Is4()] || host.IsValid() && host.Is4() != a.Is4() {
			continue
		}
		seen[a.Is4()] = true
		e := entry{proto: proto, host: host, port: m.HostPort, target: netip.AddrPortFrom(a, m.ContainerPort)}
		if host.IsValid() && host.IsUnspecified() {
			e.host = netip.Addr{}
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("host port %d on %s: the pod has no address of that family: %w", m.HostPort, host, lifecycle.ErrInvalid)
	}
	return out, nil
}

var protocols = map[string]uint8{
	"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP,
}

func protoName(p uint8) string {
	for name, n := range protocols {
		if n == p {
			return name
		}
	}
	return fmt.Sprint(p)
}
