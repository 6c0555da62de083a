package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix" // rtnetlink constants

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/network/rtnl"
)

// Setup runs ADD, and DEL when ADD fails half-way or gives a result that cannot be right.
func (d *Driver) Setup(ctx context.Context, p network.Pod) (*network.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("connect pod %s: %w", p.ID, err)
	}
	list, err := d.config()
	if err != nil {
		return nil, fmt.Errorf("connect pod %s: %w", p.ID, err)
	}
	if err := loopbackUp(p.NetNS); err != nil {
		return nil, fmt.Errorf("connect pod %s: %w", p.ID, err)
	}
	rt := runtimeConf(p)
	res, err := d.add(ctx, list, rt)
	if err != nil {
		// The context may have ended; what ADD made must go all the same.
		uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		if uerr := d.cni.DelNetworkList(uctx, list, rt); uerr != nil {
			err = errors.Join(err, fmt.Errorf("undo: %w", uerr))
		}
		return nil, fmt.Errorf("connect pod %s: network %q: %w", p.ID, list.Name, err)
	}
	return res, nil
}

func (d *Driver) add(ctx context.Context, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) (*network.Result, error) {
	raw, err := d.cni.AddNetworkList(ctx, list, rt)
	if ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), err) // libcni's error does not wrap it
	}
	if err != nil {
		return nil, err
	}
	return toResult(raw)
}

// Teardown runs DEL with the configuration that the pod was connected with. A pod of
// which nothing is cached gets a DEL of the present configuration only when it never got
// a result: its ADD may have been cut off before it was cached.
func (d *Driver) Teardown(ctx context.Context, p network.Pod) error {
	atts, err := d.cni.GetCachedAttachments(p.ID)
	if err != nil {
		return fmt.Errorf("disconnect pod %s: %w", p.ID, err)
	}
	var errs []error
	for _, a := range atts {
		errs = append(errs, d.detach(ctx, a))
	}
	if len(atts) == 0 && p.Previous == nil {
		if list, err := d.config(); err == nil {
			rt := runtimeConf(p)
			rt.NetNS = existing(p.NetNS)
			errs = append(errs, d.cni.DelNetworkList(ctx, list, rt))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("disconnect pod %s: %w", p.ID, err)
	}
	return nil
}

// detach runs DEL for a cached attachment. Without the namespace, NetNS is empty, and the
// plugins release what lives elsewhere (CNI specification, "DEL").
func (d *Driver) detach(ctx context.Context, a *libcni.NetworkAttachment) error {
	list, err := libcni.NetworkConfFromBytes(a.Config)
	if err != nil {
		return fmt.Errorf("network %q: cached configuration: %w", a.Network, err)
	}
	rt := &libcni.RuntimeConf{
		ContainerID: a.ContainerID, NetNS: existing(a.NetNS), IfName: a.IfName,
		Args: a.CniArgs, CapabilityArgs: a.CapabilityArgs,
	}
	if err := d.cni.DelNetworkList(ctx, list, rt); err != nil {
		return fmt.Errorf("network %q: %w", a.Network, err)
	}
	return nil
}

// Check runs CHECK where the configuration's version has it (0.4.0), and otherwise
// compares nothing: the plugins are the only ones who know.
func (d *Driver) Check(ctx context.Context, p network.Pod) error {
	atts, err := d.cni.GetCachedAttachments(p.ID)
	if err != nil {
		return fmt.Errorf("check pod %s: %w", p.ID, err)
	}
	if len(atts) == 0 {
		return fmt.Errorf("check pod %s: no CNI attachment: %w", p.ID, lifecycle.ErrNotFound)
	}
	for _, a := range atts {
		list, err := libcni.NetworkConfFromBytes(a.Config)
		if err != nil {
			return fmt.Errorf("check pod %s: cached configuration: %w", p.ID, err)
		}
		rt := &libcni.RuntimeConf{
			ContainerID: a.ContainerID, NetNS: a.NetNS, IfName: a.IfName,
			Args: a.CniArgs, CapabilityArgs: a.CapabilityArgs,
		}
		if err := d.cni.CheckNetworkList(ctx, list, rt); err != nil && !errors.Is(err, libcni.ErrorCheckNotSupp) {
			return fmt.Errorf("check pod %s: network %q: %w", p.ID, a.Network, err)
		}
	}
	return nil
}

// portMapping is the element of the capability "portMappings" (CNI conventions).
type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

// runtimeConf is what other CRI runtimes pass too: Kubernetes' arguments, port mappings,
// and the pod's annotations for plugins that ask for them.
func runtimeConf(p network.Pod) *libcni.RuntimeConf {
	rt := &libcni.RuntimeConf{
		ContainerID: p.ID,
		NetNS:       p.NetNS,
		IfName:      Iface,
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", p.Namespace},
			{"K8S_POD_NAME", p.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", p.ID},
			{"K8S_POD_UID", p.UID},
		},
		CapabilityArgs: map[string]any{},
	}
	var ports []portMapping
	for _, m := range p.Ports {
		if m.HostPort == 0 {
			continue
		}
		pm := portMapping{HostPort: int(m.HostPort), ContainerPort: int(m.ContainerPort), Protocol: m.Protocol}
		if m.HostIP.IsValid() {
			pm.HostIP = m.HostIP.String()
		}
		ports = append(ports, pm)
	}
	if len(ports) > 0 {
		rt.CapabilityArgs["portMappings"] = ports
	}
	if len(p.Annotations) > 0 {
		rt.CapabilityArgs["io.kubernetes.cri.pod-annotations"] = p.Annotations
	}
	return rt
}

// toResult turns a plugin's result into ours. Plugins are foreign programs: a result
// without an address, or with one that is none, is an error.
func toResult(raw types.Result) (*network.Result, error) {
	r, err := types100.GetResult(raw)
	if err != nil {
		return nil, fmt.Errorf("CNI result: %w", err)
	}
	res := &network.Result{Iface: Iface}
	for _, ip := range r.IPs {
		if ip == nil || !inside(r, ip) {
			continue
		}
		p, ok := toPrefix(ip.Address)
		if !ok {
			return nil, fmt.Errorf("CNI result: %q is no address: %w", ip.Address.String(), lifecycle.ErrInvalid)
		}
		res.IPs = append(res.IPs, p)
		if gw, ok := netip.AddrFromSlice(ip.Gateway); ok {
			res.Gateways = append(res.Gateways, gw.Unmap())
		}
	}
	if len(res.IPs) == 0 {
		return nil, fmt.Errorf("CNI result: no address for %s: %w", Iface, lifecycle.ErrInvalid)
	}
	if res.Raw, err = json.Marshal(r); err != nil {
		return nil, fmt.Errorf("CNI result: %w", err)
	}
	return res, nil
}

// inside tells whether an address is on the pod's Iface. Addresses that name no
// interface are the pod's, as plugins that write version 0.2 results mean it.
func inside(r *types100.Result, ip *types100.IPConfig) bool {
	if ip.Interface == nil {
		return true
	}
	i := *ip.Interface
	return i >= 0 && i < len(r.Interfaces) && r.Interfaces[i] != nil &&
		r.Interfaces[i].Name == Iface && r.Interfaces[i].Sandbox != ""
}

func toPrefix(n net.IPNet) (netip.Prefix, bool) {
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	a = a.Unmap()
	if !ok || bits == 0 || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return netip.Prefix{}, false
	}
	if a.Is4() && bits == 128 {
		ones -= 96
	}
	p := netip.PrefixFrom(a, ones)
	return p, p.IsValid()
}

// loopbackUp needs no plugin: it is one message.
func loopbackUp(netns string) error {
	f, err := os.Open(netns)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return rtnl.Within(int(f.Fd()), func() error {
		c, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0)
		msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
		msg.Index, msg.Flags, msg.Change = 1, unix.IFF_UP, unix.IFF_UP
		req.AddData(msg)
		if err := c.Do(req); err != nil {
			return fmt.Errorf("bring up lo: %w", err)
		}
		return nil
	})
}

// existing is the path, or "" when it is no network namespace any more.
func existing(netns string) string {
	var st unix.Statfs_t
	if netns == "" || unix.Statfs(netns, &st) != nil || st.Type != unix.NSFS_MAGIC {
		return ""
	}
	return netns
}
