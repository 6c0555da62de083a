// Package cni connects pods with the plugins of a CNI configuration (CNI specification
// 1.1; verbs ADD, DEL and CHECK), found and executed by libcni. What is not its job: to
// choose between CNI and the built-in bridge (driver), and what the plugins do. Locking:
// Driver.mu guards the loaded configuration and is never held while a plugin runs.
package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/sirupsen/logrus"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
)

// DefaultDir is where CNI configurations are; DefaultBinDirs where plugins are, Debian's
// place last.
const DefaultDir = "/etc/cni/net.d"

// DefaultBinDirs are searched in this order.
var DefaultBinDirs = []string{"/opt/cni/bin", "/usr/lib/cni"}

// undoTimeout bounds the DEL after an ADD that failed.
const undoTimeout = 30 * time.Second

// Iface is the name that the plugins are asked to give the pod's interface.
const Iface = "eth0"

// Options of the driver.
type Options struct {
	ConfDir string   // "" = DefaultDir
	BinDirs []string // empty = DefaultBinDirs
	// CacheDir keeps what DEL needs of an earlier ADD. It is the agent's own, never
	// /var/lib/cni, so that several agents, and containerd beside them, do not mix.
	CacheDir string
	Log      *logrus.Entry
}

// Driver implements network.Network.
type Driver struct {
	o   Options
	log *logrus.Entry
	cni libcni.CNI

	mu     sync.Mutex
	stamp  stamp
	loaded *libcni.NetworkConfigList
}

// stamp tells one state of the configuration directory from another.
type stamp struct {
	dir, file time.Time
	name      string
	size      int64
}

var _ network.Network = (*Driver)(nil)

// New checks the options; the configuration is read at the first Ready or Setup.
func New(o Options) (*Driver, error) {
	if !filepath.IsAbs(o.CacheDir) {
		return nil, fmt.Errorf("CNI cache directory %q is not absolute: %w", o.CacheDir, lifecycle.ErrInvalid)
	}
	if o.ConfDir == "" {
		o.ConfDir = DefaultDir
	}
	if len(o.BinDirs) == 0 {
		o.BinDirs = DefaultBinDirs
	}
	// Given here, since libcni would make its own at the first call, without a lock.
	run := &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}}
	d := &Driver{o: o, log: o.Log, cni: libcni.NewCNIConfigWithCacheDir(o.BinDirs, o.CacheDir, run)}
	if d.log == nil {
		d.log = logrus.NewEntry(logrus.StandardLogger())
	}
	return d, nil
}

// Name is "cni", with the network's name once it is known.
func (d *Driver) Name() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.loaded == nil {
		return "cni"
	}
	return "cni (" + d.loaded.Name + ")"
}

// Present tells whether the directory has a configuration, readable or not.
func (d *Driver) Present() bool {
	name, err := firstConf(d.o.ConfDir)
	return err == nil && name != ""
}

// Ready returns why no pod can be connected, in words that people know from other
// runtimes: "cni config uninitialized: …" or "cni plugin not initialized: …".
func (d *Driver) Ready() error {
	list, err := d.config()
	if err != nil {
		return err
	}
	for _, p := range list.Plugins {
		if !d.installed(p.Network.Type) {
			return fmt.Errorf("cni plugin not initialized: network %q needs plugin %q, which is not in %s: %w",
				list.Name, p.Network.Type, strings.Join(d.o.BinDirs, ", "), lifecycle.ErrUnavailable)
		}
	}
	return nil
}

func (d *Driver) installed(plugin string) bool {
	return slices.ContainsFunc(d.o.BinDirs, func(dir string) bool {
		st, err := os.Stat(filepath.Join(dir, plugin))
		return err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0
	})
}

// Close keeps the pods' connections. With purge the cache goes; DEL is what takes pods
// off the network, and is for those who know them.
func (d *Driver) Close(purge bool) error {
	if !purge {
		return nil
	}
	return os.RemoveAll(d.o.CacheDir)
}

// config returns the configuration, loaded anew when the directory has changed.
func (d *Driver) config() (*libcni.NetworkConfigList, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, err := look(d.o.ConfDir)
	if err != nil {
		return nil, fmt.Errorf("cni config uninitialized: %w: %w", lifecycle.ErrUnavailable, err)
	}
	if now == d.stamp && d.loaded != nil {
		return d.loaded, nil
	}
	d.stamp, d.loaded = now, nil
	if now.name == "" {
		return nil, fmt.Errorf("cni config uninitialized: no .conflist, .conf or .json in %s; has the network provider started?: %w",
			d.o.ConfDir, lifecycle.ErrUnavailable)
	}
	list, err := load(now.name)
	if err != nil {
		return nil, fmt.Errorf("cni config uninitialized: %s: %w: %w", now.name, lifecycle.ErrUnavailable, err)
	}
	d.log.WithFields(logrus.Fields{"file": now.name, "network": list.Name}).Info("network: CNI configuration loaded")
	d.loaded = list
	return list, nil
}

func look(dir string) (stamp, error) {
	var s stamp
	st, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	} else if err != nil {
		return s, err
	}
	s.dir = st.ModTime()
	if s.name, err = firstConf(dir); err != nil || s.name == "" {
		return s, err
	}
	if st, err = os.Stat(s.name); err != nil {
		return s, err
	}
	s.file, s.size = st.ModTime(), st.Size()
	return s, nil
}

// firstConf is the first configuration in lexical order, "" when there is none.
func firstConf(dir string) (string, error) {
	files, err := libcni.ConfFiles(dir, []string{".conflist", ".conf", ".json"})
	if err != nil || len(files) == 0 {
		return "", err
	}
	return slices.Min(files), nil
}

// load reads a list, or a single plugin's configuration as a list of one.
func load(file string) (*libcni.NetworkConfigList, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list, err := parse(data, file)
	if err != nil {
		return nil, err
	}
	if len(list.Plugins) == 0 {
		return nil, errors.New("no plugins in it")
	}
	return list, nil
}

func parse(data []byte, file string) (*libcni.NetworkConfigList, error) {
	if filepath.Ext(file) == ".conflist" {
		return libcni.NetworkConfFromFile(file)
	}
	conf, err := libcni.NetworkPluginConfFromBytes(data)
	if err != nil {
		return nil, err
	}
	wrapped, err := json.Marshal(map[string]any{
		"name": conf.Network.Name, "cniVersion": conf.Network.CNIVersion, "plugins": []json.RawMessage{data},
	})
	if err != nil {
		return nil, err
	}
	return libcni.NetworkConfFromBytes(wrapped)
}

// Recover removes, with DEL, the attachments of pods that do not exist.
func (d *Driver) Recover(ctx context.Context, pods []network.Pod) error {
	atts, err := d.cni.GetCachedAttachments("")
	if err != nil {
		return fmt.Errorf("read CNI attachments in %s: %w", d.o.CacheDir, err)
	}
	var errs []error
	for _, a := range atts {
		if slices.ContainsFunc(pods, func(p network.Pod) bool { return p.ID == a.ContainerID && p.Previous != nil }) {
			continue
		}
		d.log.WithField("pod", a.ContainerID).Info("network: removing a CNI attachment that belongs to no pod")
		errs = append(errs, d.detach(ctx, a))
	}
	return errors.Join(errs...)
}
