// Package agent wires the services of one node agent together: New opens them and
// recovers what an earlier agent left, Close leaves the containers running, Drain ends them.
// It serves nothing itself: the face (cri/) is put on by who runs it.
package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/slipway-cri/slipway/agent/config"
	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/events"
	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/network/bridge"
	"github.com/slipway-cri/slipway/agent/network/driver"
	"github.com/slipway-cri/slipway/agent/nri"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/runtime"
	"github.com/slipway-cri/slipway/agent/stats"
)

// Options are what an agent needs beside its configuration.
type Options struct {
	Config config.Config
	// MonitorPath and InitPath are slipway-monitor and slipway-init, "" = beside this program.
	MonitorPath, InitPath string
	// MonitorArgs and MonitorEnv let a test binary be its own monitor; nil in production.
	MonitorArgs, MonitorEnv []string
	Version                 string // told to NRI plugins
	Log                     *logrus.Logger
}

// Agent is the services of one node.
type Agent struct {
	Layout     layout.Layout
	Config     config.Config
	Pods       *pods.Pods
	Containers *containers.Containers
	Images     images.Service
	Stats      *stats.Stats
	Events     *events.Bus
	Network    network.Network

	runtime *runtime.Runtime
	nri     *nri.NRI // nil = off
	lock    *os.File
	log     *logrus.Entry
	closers []func() error // in the order of opening
}

// New opens everything, finds or starts the monitor, and recovers. What it opened is closed
// again when it fails.
func New(ctx context.Context, o Options) (*Agent, error) {
	if o.Log == nil {
		o.Log = logrus.StandardLogger()
	}
	a := &Agent{Layout: o.Config.Layout(), Config: o.Config, log: logrus.NewEntry(o.Log)}
	if err := a.open(ctx, o); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Agent) open(ctx context.Context, o Options) error {
	if err := a.makeDirs(); err != nil {
		return err
	}
	bootID, err := readBootID()
	if err != nil {
		return err
	}
	if err := a.openRuntime(ctx, o); err != nil {
		return err
	}
	if err := a.openImages(); err != nil {
		return err
	}
	if err := a.openNetwork(); err != nil {
		return err
	}
	host, err := hostFacts(a.runtime.Host(), a.Config)
	if err != nil {
		return err
	}
	podHooks, hooks, err := a.openNRI(o.Version, host)
	if err != nil {
		return err
	}
	a.Pods = pods.New(pods.Options{
		Layout: a.Layout, Runtime: a.runtime, Network: a.Network, Shm: pods.Tmpfs{}, Hooks: podHooks, Host: host,
		BootID: bootID, Log: a.log,
	})
	a.Containers = containers.New(containers.Options{
		Layout: a.Layout, Runtime: a.runtime, Images: a.Images, Pods: a.Pods, Hooks: hooks, Host: host, Handlers: handlerHosts(host, a.Config), Relabel: runtime.Relabel,
		BootID: bootID, Log: a.log,
	})
	a.Pods.SetContainers(a.Containers)
	a.Events = events.New(a.Pods, a.Containers)
	a.Stats = stats.New(stats.Options{Pods: a.Pods, Containers: a.Containers, Runtime: a.runtime, Layout: a.Layout})
	if err := a.recover(ctx); err != nil {
		return err
	}
	return a.startNRI()
}

// makeDirs makes the two directories, for root alone even when they were there with looser modes (CVE-2024-25621),
// and takes the agent's lock in the state directory: two agents on one directory would undo each other.
func (a *Agent) makeDirs() error {
	for _, dir := range []string{a.Layout.Root, a.Layout.State, a.Layout.ExitDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
	}
	path := filepath.Join(a.Layout.State, "agent.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return fmt.Errorf("another agent uses %s (its lock is %s): %w", a.Layout.State, path, lifecycle.ErrInProgress)
	}
	a.lock = f
	return nil
}

func (a *Agent) openRuntime(ctx context.Context, o Options) (err error) {
	r := runtime.Options{
		MonitorPath: o.MonitorPath, InitPath: o.InitPath, MonitorArgs: o.MonitorArgs, MonitorEnv: o.MonitorEnv, Log: a.log,
	}
	for path, name := range map[*string]string{&r.MonitorPath: "slipway-monitor", &r.InitPath: "slipway-init"} {
		if *path != "" {
			continue
		}
		if *path, err = sibling(name); err != nil {
			return err
		}
	}
	if a.runtime, err = runtime.New(ctx, a.Layout, r); err != nil {
		return fmt.Errorf("runtime: %w", err)
	}
	a.closers = append(a.closers, a.runtime.Close)
	return nil
}

// libexec is where a package puts the two programs that nobody calls by hand.
const libexec = "/usr/libexec/slipway"

// sibling finds a program beside this one, or where packages put it.
func sibling(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	places := []string{filepath.Join(filepath.Dir(self), name), filepath.Join(libexec, name)}
	for _, p := range places {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s is in none of %s: install it beside slipway: %w", name, strings.Join(places, ", "), lifecycle.ErrUnavailable)
}

func (a *Agent) openImages() error {
	local, err := images.New(images.Options{Dir: a.Layout.Images(), CertsDir: a.Config.Registry.CertsDir})
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	a.Images = local
	a.closers = append(a.closers, local.Close)
	return nil
}

func (a *Agent) openNetwork() (err error) {
	c := a.Config.Network
	o := driver.Options{
		Layout: a.Layout, CNIDir: c.CNIConfDir, CNIBin: c.CNIBinDirs, Log: a.log,
		Bridge: bridge.Options{Subnets: c.Subnets, MTU: c.MTU},
	}
	if c.Driver == "bridge" {
		o.CNIDir = driver.None
	}
	if a.Network, err = driver.New(o); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	a.closers = append(a.closers, func() error { return a.Network.Close(false) })
	return nil
}

// recover brings records and kernel together, containers first: pods that were being stopped need them.
func (a *Agent) recover(ctx context.Context) error {
	if err := a.Pods.Load(); err != nil {
		return fmt.Errorf("pod records: %w", err)
	}
	if err := a.Containers.Load(); err != nil {
		return fmt.Errorf("container records: %w", err)
	}
	live, err := a.runtime.Live(ctx)
	if err != nil {
		return fmt.Errorf("ask the monitor: %w", err)
	}
	a.runtime.SetExitHandler(a.Containers.Exited)
	if err := a.Containers.Reconcile(ctx, live); err != nil {
		a.log.WithError(err).Warn("recovery of the containers is not complete")
	}
	if err := a.Network.Recover(ctx, a.Pods.NetworkPods()); err != nil {
		a.log.WithError(err).Warn("recovery of the network is not complete")
	}
	a.Pods.Finish(ctx)
	return nil
}

// Close lets go of everything and leaves the containers and their monitor running.
func (a *Agent) Close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	a.closers = nil
	if a.lock != nil {
		errs = append(errs, a.lock.Close())
		a.lock = nil
	}
	return errors.Join(errs...)
}

// Drain stops and removes every pod, gives their containers grace to end, and ends the monitor and the network's
// bridge: afterwards the agent has nothing left in the kernel.
func (a *Agent) Drain(ctx context.Context, grace time.Duration) error {
	var errs []error
	done := make(chan error)
	all := a.Pods.List()
	for _, v := range all {
		go func() { done <- a.drainPod(ctx, v.ID, grace) }()
	}
	for range all {
		errs = append(errs, <-done)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	return errors.Join(a.Network.Close(true), a.runtime.Shutdown(ctx))
}

func (a *Agent) drainPod(ctx context.Context, id string, grace time.Duration) error {
	done := make(chan error)
	n := 0
	for _, c := range a.Containers.List() {
		if c.PodID == id {
			n++
			go func() { done <- a.Containers.Stop(ctx, c.ID, grace) }()
		}
	}
	var errs []error
	for range n {
		errs = append(errs, <-done)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return a.Pods.Remove(ctx, id)
}

// RuntimeReady returns nil, or why no container can be run now.
func (a *Agent) RuntimeReady() error { return a.runtime.Ready() }

// Host tells what this machine allows.
func (a *Agent) Host() runtime.Host { return a.runtime.Host() }

// NetworkReady returns nil, or why no pod can be connected now.
func (a *Agent) NetworkReady() error { return a.Network.Ready() }

// SetPodCIDR is told which addresses kubelet means for this node's pods. The built-in network's
// subnets are the operator's (network.subnets), so a CIDR outside of them is said, not obeyed.
func (a *Agent) SetPodCIDR(_ context.Context, cidrs []netip.Prefix) error {
	for _, c := range cidrs {
		for _, own := range a.Config.Network.Subnets {
			if own.Addr().Is4() == c.Addr().Is4() && !own.Overlaps(c) {
				a.log.WithField("cidr", c).Warn("kubelet's pod CIDR is outside of network.subnets, which is kept")
			}
		}
	}
	return nil
}

func readBootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}
