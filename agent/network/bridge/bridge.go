// Package bridge is the built-in network: one Linux bridge a node, one veth pair a pod,
// addresses from memory, masquerade and host ports by hostport, all by netlink, nothing
// executed. What is not its job: counters (agent/stats), policies between pods, routes
// between nodes. Locking: node.prepare is held only while bridge and tables are made;
// Driver.mu guards the book of pods and is never held over a system call, so set-ups of
// different pods meet only in the kernel.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/network/hostport"
	"github.com/slipway-cri/slipway/agent/network/ipam"
)

// Iface is the pod's interface, by name and by index: the index is fixed so that the
// whole inside is configured in one message batch, with no look-up. It lies above those
// of the tunnel devices that some kernels put into every new namespace.
const (
	Iface      = "eth0"
	ifaceIndex = 100
)

// Modules are the kernel modules that the driver needs where they are not built in. The
// kernel loads most of them by itself when it has modprobe; a minimal system must load them.
var Modules = []string{
	"bridge", "veth", "nf_tables", "nft_chain_nat", "nft_masq", "nft_nat", "nft_fib_inet",
	"nft_ct", "nf_conntrack", "nf_conntrack_netlink", "nf_nat",
}

// Options of the driver. The zero value of each field but the names is the default.
type Options struct {
	Bridge  string // name of the bridge, at most 15 bytes
	NFTable string // name of the nftables table
	Tag     string // layout.Layout.Tag: goes into the names of the links
	// Subnets that pods get an address of: one of the first IPv4 subnet with room, one of
	// the first IPv6 subnet with room. Empty: those of the bridge if it is there, else a
	// /16 of 10/8 or 172.16/12 and a /64 of fd00::/8 derived from the tag, that no route
	// of the node overlaps.
	Subnets      []netip.Prefix
	NoIPv6       bool // choose no IPv6 subnet
	MTU          int  // 0: that of the default route's link, or 1500
	NoMasquerade bool // pods' addresses are routable: leave them as they are
	Hairpin      bool // let every port send back what it received, not only those of pods with host ports
	Log          *logrus.Entry
}

// FromLayout are the default options of the agent at l.
func FromLayout(l layout.Layout) Options {
	return Options{Bridge: l.Bridge(), NFTable: l.NFTable(), Tag: l.Tag}
}

// Driver implements network.Network.
type Driver struct {
	o      Options
	log    *logrus.Entry
	kernel kernel
	ports  func(hostport.Config) portTable

	prepare sync.Mutex // held while node is made
	mu      sync.Mutex
	node    *node
	pods    map[string]*attachment // by pod ID
	names   map[string]string      // host link → pod ID
}

// node is what is made once: the bridge with its gateways, and the table.
type node struct {
	index int
	mtu   int
	pools []*ipam.Pool
	table portTable
}

// attachment is one pod's connection.
type attachment struct {
	host string
	ips  []netip.Addr
}

// portTable is the part of *hostport.Table that the driver uses.
type portTable interface {
	Ensure() error
	Add(podID string, addrs []netip.Addr, ports []network.PortMapping) error
	Remove(podID string) error
	Reset(pods []hostport.Pod) ([]hostport.Refusal, error)
	Has(podID string) error
	Delete() error
	Close() error
}

var _ network.Network = (*Driver)(nil)

// New checks the options; it makes nothing in the kernel. lifecycle.ErrInvalid.
func New(o Options) (*Driver, error) {
	if o.Bridge == "" || len(o.Bridge) > maxName {
		return nil, fmt.Errorf("bridge name %q: 1 to %d bytes: %w", o.Bridge, maxName, lifecycle.ErrInvalid)
	}
	if o.NFTable == "" {
		return nil, fmt.Errorf("nftables table without a name: %w", lifecycle.ErrInvalid)
	}
	for i, s := range o.Subnets {
		if _, err := ipam.New(s); err != nil {
			return nil, err
		}
		for _, other := range o.Subnets[:i] {
			if s.Overlaps(other) {
				return nil, fmt.Errorf("subnets %s and %s overlap: %w", other, s, lifecycle.ErrInvalid)
			}
		}
	}
	d := &Driver{
		o:      o,
		log:    o.Log,
		kernel: realKernel{},
		ports:  func(c hostport.Config) portTable { return hostport.New(c) },
		pods:   map[string]*attachment{},
		names:  map[string]string{},
	}
	if d.log == nil {
		d.log = logrus.NewEntry(logrus.StandardLogger())
	}
	return d, nil
}

// Name is "bridge".
func (d *Driver) Name() string { return "bridge" }

// Ready puts back what others took away since (a firewall that reloads with "flush
// ruleset" drops every table); it returns an error when that cannot be done.
func (d *Driver) Ready() error {
	n := d.made()
	if n == nil {
		return nil // bridge and table are made with the first pod
	}
	if err := n.table.Ensure(); err != nil {
		return fmt.Errorf("bridge network: %w", err)
	}
	return nil
}

// Close with purge removes the bridge, every pod's link and the table.
func (d *Driver) Close(purge bool) error {
	d.prepare.Lock()
	defer d.prepare.Unlock()
	if n := d.made(); n != nil {
		if err := n.table.Close(); err != nil {
			return fmt.Errorf("close bridge %s: %w", d.o.Bridge, err)
		}
	}
	if !purge {
		return nil
	}
	if err := d.purge(); err != nil {
		return fmt.Errorf("purge bridge %s: %w", d.o.Bridge, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.node, d.pods, d.names = nil, map[string]*attachment{}, map[string]string{}
	return nil
}

func (d *Driver) purge() error {
	s, err := d.kernel.Survey(d.o.Bridge)
	if err != nil {
		return err
	}
	for _, name := range s.links {
		if owned(d.o.Tag, name) {
			if err := d.kernel.DeleteLink(name); err != nil {
				return err
			}
		}
	}
	if err := d.deleteTable(); err != nil {
		return err
	}
	if s.bridge == 0 {
		return nil
	}
	return d.kernel.DeleteLink(d.o.Bridge)
}

func (d *Driver) deleteTable() error {
	t := d.ports(hostport.Config{Table: d.o.NFTable, Bridge: d.o.Bridge, Log: d.log})
	return errors.Join(t.Delete(), t.Close())
}

func (d *Driver) made() *node {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node
}

// ready returns the node's part, and makes it the first time.
func (d *Driver) ready(ctx context.Context, pods []network.Pod) (*node, error) {
	if n := d.made(); n != nil {
		return n, nil
	}
	d.prepare.Lock()
	defer d.prepare.Unlock()
	if n := d.made(); n != nil {
		return n, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n, err := d.make(pods)
	if err != nil {
		return nil, fmt.Errorf("make bridge %s: %w", d.o.Bridge, err)
	}
	d.mu.Lock()
	d.node = n
	d.mu.Unlock()
	return n, nil
}

func (d *Driver) make(pods []network.Pod) (*node, error) {
	s, err := d.kernel.Survey(d.o.Bridge)
	if err != nil {
		return nil, err
	}
	subnets, err := d.subnets(s, pods)
	if err != nil {
		return nil, err
	}
	n := &node{mtu: d.o.MTU}
	if n.mtu == 0 {
		n.mtu = s.mtu
	}
	var gateways []netip.Prefix
	for _, subnet := range subnets {
		pool, err := ipam.New(subnet)
		if err != nil {
			return nil, err
		}
		n.pools = append(n.pools, pool)
		gateways = append(gateways, netip.PrefixFrom(pool.Gateway(), subnet.Bits()))
	}
	n.table = d.ports(hostport.Config{
		Table: d.o.NFTable, Bridge: d.o.Bridge, Subnets: subnets, Masquerade: !d.o.NoMasquerade, Log: d.log,
	})
	// The table guards the bridge (hostport.Config), so it stands before the bridge does.
	if err := n.table.Ensure(); err != nil {
		return nil, err
	}
	changed, index, err := d.kernel.MakeBridge(bridgeSpec{name: d.o.Bridge, mtu: n.mtu, gateways: gateways})
	if err != nil {
		return nil, err
	}
	n.index = index
	for _, c := range changed {
		d.log.WithField("sysctl", c).Info("network: switched on forwarding for the pods' bridge")
	}
	d.log.WithFields(logrus.Fields{"bridge": d.o.Bridge, "subnets": subnets, "mtu": n.mtu}).Info("network: bridge ready")
	return n, nil
}

// subnets decides, for each family by itself: options, then what the bridge has, then
// what existing pods have, then a free choice.
func (d *Driver) subnets(s survey, pods []network.Pod) ([]netip.Prefix, error) {
	if len(d.o.Subnets) > 0 {
		var out []netip.Prefix
		for _, p := range d.o.Subnets {
			out = append(out, p.Masked())
		}
		return out, nil
	}
	known := s.addrs
	for _, p := range pods {
		if p.Previous != nil {
			known = append(known, p.Previous.IPs...)
		}
	}
	var v4, v6 netip.Prefix
	for _, p := range known {
		switch {
		case p.Addr().Is4() && !v4.IsValid():
			v4 = p.Masked()
		case p.Addr().Is6() && !p.Addr().IsLinkLocalUnicast() && !v6.IsValid():
			v6 = p.Masked()
		}
	}
	taken := slices.Concat(s.routes, nodeResolvers())
	var err error
	if !v4.IsValid() {
		if v4, err = choose4(d.o.Tag, taken); err != nil {
			return nil, err
		}
	}
	if d.o.NoIPv6 || !s.ipv6 {
		return []netip.Prefix{v4}, nil
	}
	if !v6.IsValid() {
		if v6, err = choose6(d.o.Tag, taken); err != nil {
			return nil, err
		}
	}
	return []netip.Prefix{v4, v6}, nil
}
