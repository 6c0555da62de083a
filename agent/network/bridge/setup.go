package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix" // errno values

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/network/ipam"
	"github.com/slipway-cri/slipway/agent/steps"
)

// Setup connects a pod. lifecycle.ErrExists when it is connected already, ErrExhausted
// when no address or host port is free, ErrInvalid for a port mapping that makes no sense.
func (d *Driver) Setup(ctx context.Context, p network.Pod) (*network.Result, error) {
	n, err := d.ready(ctx, nil)
	if err != nil {
		return nil, err
	}
	res, err := d.setup(ctx, n, p)
	if errors.Is(err, errBridgeGone) {
		// Somebody removed the bridge: make it again, with the addresses it had.
		if n, err = d.remake(ctx, n); err != nil {
			return nil, err
		}
		res, err = d.setup(ctx, n, p)
	}
	if err != nil {
		return nil, fmt.Errorf("connect pod %s: %w", p.ID, err)
	}
	return res, nil
}

var errBridgeGone = errors.New("the bridge is gone")

func (d *Driver) setup(ctx context.Context, n *node, p network.Pod) (_ *network.Result, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	att, err := d.admit(p.ID)
	if err != nil {
		return nil, err
	}
	var undo []func() error
	defer func() {
		if err == nil {
			return
		}
		for _, f := range slices.Backward(undo) {
			if uerr := f(); uerr != nil {
				err = errors.Join(err, fmt.Errorf("undo: %w", uerr))
			}
		}
	}()
	undo = append(undo, func() error { d.forget(p.ID); return nil })

	in, err := allocate(n.pools, p.ID)
	undo = append(undo, func() error { release(n.pools, p.ID); return nil })
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	for _, ip := range in.ips {
		att.ips = append(att.ips, ip.Addr())
	}
	d.mu.Unlock()
	steps.Lap(ctx, "addresses")

	if len(p.Ports) > 0 {
		if err := n.table.Add(p.ID, att.ips, p.Ports); err != nil {
			return nil, err
		}
		undo = append(undo, func() error { return n.table.Remove(p.ID) })
		steps.Lap(ctx, "ports")
	}
	ns, err := d.kernel.Open(p.NetNS, hasIPv6(in.ips))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	undo = append(undo, func() error { return d.kernel.DeleteLink(att.host) })
	if err := d.link(ns, n, att, in, len(p.Ports) > 0); err != nil {
		return nil, err
	}
	steps.Lap(ctx, "link")
	return &network.Result{IPs: in.ips, Iface: Iface, HostIface: att.host, Gateways: in.gateways}, nil
}

// link makes the pair and plugs it in. A link of that name which no pod has is left over
// from a set-up that was cut short: it is replaced.
//
// A pod with host ports may send to its own: where br_netfilter is on (and a node of a
// cluster mostly has it), the kernel bridges such a packet straight back to its port
// instead of routing it, so the port must let it through.
func (d *Driver) link(ns namespace, n *node, att *attachment, in insideSpec, ports bool) error {
	l := linkSpec{
		host: att.host, bridge: n.index, mtu: n.mtu, hairpin: d.o.Hairpin || ports,
		hostAddr: hardwareAddr(hostSide, att.ips[0]), podMAC: hardwareAddr(podSide, att.ips[0]),
	}
	err := ns.Connect(l, in)
	if errors.Is(err, unix.EEXIST) {
		if err := d.kernel.DeleteLink(att.host); err != nil {
			return err
		}
		err = ns.Connect(l, in)
	}
	if err != nil {
		return err
	}
	if err = d.kernel.Plug(l); err == nil {
		return nil
	}
	if s, serr := d.kernel.Survey(d.o.Bridge); serr == nil && s.bridge != n.index {
		return errors.Join(errBridgeGone, err)
	}
	return err
}

// remake makes bridge and table again for the same subnets; pools stay, since pods that
// were cut off keep their addresses.
func (d *Driver) remake(ctx context.Context, old *node) (*node, error) {
	d.prepare.Lock()
	defer d.prepare.Unlock()
	if n := d.made(); n != nil && n != old {
		return n, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var gateways []netip.Prefix
	for _, pool := range old.pools {
		gateways = append(gateways, netip.PrefixFrom(pool.Gateway(), pool.Subnet().Bits()))
	}
	_, index, err := d.kernel.MakeBridge(bridgeSpec{name: d.o.Bridge, mtu: old.mtu, gateways: gateways})
	if err != nil {
		return nil, fmt.Errorf("make bridge %s again: %w", d.o.Bridge, err)
	}
	d.log.WithField("bridge", d.o.Bridge).Warn("network: the bridge was gone and is made again; pods connected before are cut off")
	n := &node{index: index, mtu: old.mtu, pools: old.pools, table: old.table}
	d.mu.Lock()
	d.node = n
	d.mu.Unlock()
	return n, nil
}

// Teardown takes a pod off the network. What cannot be undone now stays on the books, so
// that a repeated call finds it.
func (d *Driver) Teardown(ctx context.Context, p network.Pod) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	host := d.hostLink(p)
	n := d.made()
	var errs []error
	if n != nil {
		errs = append(errs, n.table.Remove(p.ID))
	}
	if host != "" {
		errs = append(errs, d.kernel.DeleteLink(host))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("disconnect pod %s: %w", p.ID, err)
	}
	if n != nil {
		release(n.pools, p.ID)
	}
	d.forget(p.ID)
	return nil
}

// hostLink is the pod's host-side link, "" when that name is another pod's.
func (d *Driver) hostLink(p network.Pod) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if att := d.pods[p.ID]; att != nil {
		return att.host
	}
	name := linkName(d.o.Tag, p.ID, 0)
	if p.Previous != nil && owned(d.o.Tag, p.Previous.HostIface) {
		name = p.Previous.HostIface
	}
	if has := d.names[name]; has != "" && has != p.ID {
		return ""
	}
	return name
}

// Check compares the pod's connection with its Previous result.
func (d *Driver) Check(ctx context.Context, p network.Pod) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.Previous == nil {
		return fmt.Errorf("check pod %s: no result of a set-up: %w", p.ID, lifecycle.ErrInvalid)
	}
	if err := d.check(p); err != nil {
		return fmt.Errorf("check pod %s: %w", p.ID, err)
	}
	return nil
}

func (d *Driver) check(p network.Pod) error {
	n := d.made()
	if n == nil {
		return fmt.Errorf("bridge %s is not there: %w", d.o.Bridge, lifecycle.ErrNotFound)
	}
	s, err := d.kernel.Survey(d.o.Bridge)
	if err != nil {
		return err
	}
	if s.bridge != n.index {
		return fmt.Errorf("bridge %s: %w", d.o.Bridge, lifecycle.ErrNotFound)
	}
	if !slices.Contains(s.links, p.Previous.HostIface) {
		return fmt.Errorf("link %s: %w", p.Previous.HostIface, lifecycle.ErrNotFound)
	}
	ns, err := d.kernel.Open(p.NetNS, false)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	addrs, err := ns.Inspect()
	if err != nil {
		return err
	}
	for _, want := range p.Previous.IPs {
		if !slices.Contains(addrs, want) {
			return fmt.Errorf("address %s is not on %s: %w", want, Iface, lifecycle.ErrNotFound)
		}
	}
	if len(p.Ports) > 0 {
		return n.table.Has(p.ID)
	}
	return nil
}

// admit enters the pod in the book under a link name that no other pod has.
func (d *Driver) admit(podID string) (*attachment, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pods[podID] != nil {
		return nil, fmt.Errorf("already connected: %w", lifecycle.ErrExists)
	}
	for i := range 16 {
		name := linkName(d.o.Tag, podID, i)
		if d.names[name] == "" {
			att := &attachment{host: name}
			d.pods[podID], d.names[name] = att, podID
			return att, nil
		}
	}
	return nil, fmt.Errorf("16 link names are taken: %w", lifecycle.ErrExhausted)
}

func (d *Driver) forget(podID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if att := d.pods[podID]; att != nil {
		delete(d.names, att.host)
		delete(d.pods, podID)
	}
}

// allocate takes one address of each family. What it took before it failed is taken still.
func allocate(pools []*ipam.Pool, podID string) (insideSpec, error) {
	var in insideSpec
	got := map[bool]error{}
	for _, pool := range pools {
		family := pool.Subnet().Addr().Is4()
		if err, tried := got[family]; tried && err == nil {
			continue
		}
		addr, err := pool.Allocate(podID)
		got[family] = err
		if err == nil {
			in.ips = append(in.ips, netip.PrefixFrom(addr, pool.Subnet().Bits()))
			in.gateways = append(in.gateways, pool.Gateway())
		}
	}
	return in, errors.Join(got[true], got[false])
}

func release(pools []*ipam.Pool, podID string) {
	for _, pool := range pools {
		pool.Release(podID)
	}
}

func hasIPv6(ips []netip.Prefix) bool {
	return slices.ContainsFunc(ips, func(p netip.Prefix) bool { return p.Addr().Is6() })
}
