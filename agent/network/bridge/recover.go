package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/network/hostport"
)

// Recover takes the books from the pods that exist and removes the links and port
// elements of those that do not. A pod without a Previous result was never connected, as
// far as anybody knows: what a cut-off Setup left of it goes too. A pod whose address or
// port turns out to be another's is logged and left as it is: it runs.
func (d *Driver) Recover(ctx context.Context, pods []network.Pod) error {
	pods = slices.DeleteFunc(slices.Clone(pods), func(p network.Pod) bool {
		return p.Previous == nil || len(p.Previous.Raw) > 0 // CNI's have Raw
	})
	s, err := d.kernel.Survey(d.o.Bridge)
	if err != nil {
		return fmt.Errorf("recover the bridge network: %w", err)
	}
	if s.bridge == 0 && len(pods) == 0 {
		// The bridge is made with the first pod; a table without one is a leftover.
		if err := d.deleteTable(); err != nil {
			return fmt.Errorf("recover the bridge network: %w", err)
		}
		return d.sweep(s.links)
	}
	n, err := d.ready(ctx, pods)
	if err != nil {
		return fmt.Errorf("recover the bridge network: %w", err)
	}
	d.adopt(n, pods)
	if err := d.reset(n, pods); err != nil {
		return fmt.Errorf("recover host ports: %w", err)
	}
	return d.sweep(s.links)
}

func (d *Driver) adopt(n *node, pods []network.Pod) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range pods {
		host := p.Previous.HostIface
		if has := d.names[host]; has != "" && has != p.ID {
			d.log.WithField("pod", p.ID).Warnf("network: link %s is pod %s's already", host, has)
			continue
		}
		att := &attachment{host: host, ips: addrs(p.Previous.IPs)}
		d.pods[p.ID], d.names[host] = att, p.ID
		for _, ip := range att.ips {
			for _, pool := range n.pools {
				if !pool.Subnet().Contains(ip) {
					continue
				}
				if err := pool.Reserve(ip, p.ID); err != nil {
					d.log.WithField("pod", p.ID).Warnf("network: %v", err)
				}
			}
		}
	}
}

func (d *Driver) reset(n *node, pods []network.Pod) error {
	var with []hostport.Pod
	for _, p := range pods {
		if len(p.Ports) > 0 {
			with = append(with, hostport.Pod{ID: p.ID, Addrs: addrs(p.Previous.IPs), Ports: p.Ports})
		}
	}
	refused, err := n.table.Reset(with)
	for _, r := range refused {
		d.log.WithField("pod", r.PodID).Warnf("network: host ports not restored: %v", r.Err)
	}
	return err
}

// sweep removes the agent's links that no pod in the book has.
func (d *Driver) sweep(links []string) error {
	var errs []error
	for _, name := range links {
		d.mu.Lock()
		known := d.names[name] != ""
		d.mu.Unlock()
		if known || !owned(d.o.Tag, name) {
			continue
		}
		d.log.WithField("link", name).Info("network: removed a link that belongs to no pod")
		errs = append(errs, d.kernel.DeleteLink(name))
	}
	return errors.Join(errs...)
}

func addrs(ps []netip.Prefix) []netip.Addr {
	out := make([]netip.Addr, len(ps))
	for i, p := range ps {
		out[i] = p.Addr()
	}
	return out
}
