// Package driver chooses between the node's two networks: CNI when a configuration is
// there, else the built-in bridge. It lives above both, so that agent/network stays an
// interface. Each pod is torn down by the driver that connected it (a Result of CNI has
// Raw), so the choice may change while pods run: a configuration that appears is used
// from then on. One that disappears is waited for, never replaced by the bridge: a
// network provider that is being upgraded takes its file away for a moment.
package driver

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"

	"github.com/sirupsen/logrus"

	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/network/bridge"
	"github.com/slipway-cri/slipway/agent/network/cni"
)

// None as Options.CNIDir means that CNI is never used for new pods.
const None = "none"

// Options of the choice.
type Options struct {
	Layout layout.Layout
	CNIDir string         // "" = cni.DefaultDir; None
	CNIBin []string       // empty = cni.DefaultBinDirs
	Bridge bridge.Options // names and tag are taken from Layout where empty
	Log    *logrus.Entry
}

// Driver implements network.Network.
type Driver struct {
	bridge, cni network.Network
	present     func() bool // a CNI configuration is there
	never       bool        // CNI is turned off
	seen        atomic.Bool // a CNI configuration was there
}

var _ network.Network = (*Driver)(nil)

// New makes nothing in the kernel; the choice is made at each call.
func New(o Options) (*Driver, error) {
	def := bridge.FromLayout(o.Layout)
	if o.Bridge.Bridge == "" {
		o.Bridge.Bridge = def.Bridge
	}
	if o.Bridge.NFTable == "" {
		o.Bridge.NFTable = def.NFTable
	}
	if o.Bridge.Tag == "" {
		o.Bridge.Tag = def.Tag
	}
	if o.Bridge.Log == nil {
		o.Bridge.Log = o.Log
	}
	b, err := bridge.New(o.Bridge)
	if err != nil {
		return nil, err
	}
	d := &Driver{bridge: b, never: o.CNIDir == None}
	if d.never {
		o.CNIDir = "" // pods of an earlier run are still taken off by CNI
	}
	c, err := cni.New(cni.Options{
		ConfDir: o.CNIDir, BinDirs: o.CNIBin, CacheDir: filepath.Join(o.Layout.Root, "cni"), Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	d.cni, d.present = c, c.Present
	return d, nil
}

// current is the driver for a new pod.
func (d *Driver) current() network.Network {
	if d.never {
		return d.bridge
	}
	if d.present() {
		d.seen.Store(true)
	}
	if d.seen.Load() {
		return d.cni
	}
	return d.bridge
}

// Name, Ready and Setup are those of the network that the next pod gets.
func (d *Driver) Name() string { return d.current().Name() }
func (d *Driver) Ready() error { return d.current().Ready() }
func (d *Driver) Setup(ctx context.Context, p network.Pod) (*network.Result, error) {
	return d.current().Setup(ctx, p)
}

// Teardown asks the driver that connected the pod; both, when no result tells which.
func (d *Driver) Teardown(ctx context.Context, p network.Pod) error {
	if p.Previous != nil {
		return d.of(p).Teardown(ctx, p)
	}
	errs := []error{d.bridge.Teardown(ctx, p)}
	if !d.never || d.seen.Load() {
		errs = append(errs, d.cni.Teardown(ctx, p))
	}
	return errors.Join(errs...)
}

// Check asks the driver that connected the pod.
func (d *Driver) Check(ctx context.Context, p network.Pod) error { return d.of(p).Check(ctx, p) }

func (d *Driver) of(p network.Pod) network.Network {
	if p.Previous != nil && len(p.Previous.Raw) > 0 {
		return d.cni
	}
	return d.bridge
}

// Recover gives each driver its own pods; both remove what belongs to none.
func (d *Driver) Recover(ctx context.Context, pods []network.Pod) error {
	var byBridge, byCNI []network.Pod
	for _, p := range pods {
		switch {
		case p.Previous == nil:
		case len(p.Previous.Raw) > 0:
			d.seen.Store(true)
			byCNI = append(byCNI, p)
		default:
			byBridge = append(byBridge, p)
		}
	}
	return errors.Join(d.bridge.Recover(ctx, byBridge), d.cni.Recover(ctx, byCNI))
}

// Close closes both.
func (d *Driver) Close(purge bool) error {
	return errors.Join(d.bridge.Close(purge), d.cni.Close(purge))
}
