// Package config is the agent's configuration: its TOML form with defaults, and the checks that
// need no look at the machine. It opens the one file it is given and nothing else; what
// the values mean is the business of the packages that take them.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/sirupsen/logrus"

	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// DefaultFile is read when no file is named, if it is there.
const DefaultFile = "/etc/slipway/config.toml"

// None turns a directory off.
const None = "none"

// Config is everything an operator can set. The comments are what `slipway config` prints.
type Config struct {
	Root   string `toml:"root" comment:"Images, container layers and records. Survives a reboot."`
	State  string `toml:"state" comment:"Sockets, namespace pins and live state. Does not survive a reboot; a tmpfs."`
	Socket string `toml:"socket" comment:"The CRI socket, mode 0600. Empty: slipway.sock in the state directory."`

	Log       Log       `toml:"log"`
	Tracing   Tracing   `toml:"tracing" comment:"OpenTelemetry spans of every call and of every step of a pod's start."`
	Metrics   Metrics   `toml:"metrics" comment:"The agent's own figures for Prometheus, at /metrics."`
	Streaming Streaming `toml:"streaming" comment:"Endpoints of exec, attach and port-forward."`
	Registry  Registry  `toml:"registry"`
	Network   Network   `toml:"network" comment:"The pods' network: a built-in bridge, or CNI plugins where they are configured."`
	Cgroup    Cgroup    `toml:"cgroup"`
	Seccomp   Seccomp   `toml:"seccomp"`
	AppArmor  AppArmor  `toml:"apparmor"`
	Runtime   Runtime   `toml:"runtime" comment:"Runtime handlers are sections [runtime.handlers.NAME] with privileged_without_host_devices, seccomp_profile and apparmor_profile."`
	CDI       CDI       `toml:"cdi" comment:"Devices that containers ask for by name."`
	NRI       NRI       `toml:"nri" comment:"Node Resource Interface: plugins that see pods and containers, and change them."`
	Stop      Stop      `toml:"stop" comment:"What happens when the agent ends."`
}

// Log is the agent's own log, on stderr.
type Log struct {
	Level  string `toml:"level" comment:"trace, debug, info, warning or error."`
	Format string `toml:"format" comment:"text or json."`
}

// Streaming is the HTTP server behind exec, attach and port-forward.
type Streaming struct {
	Address     string   `toml:"address" comment:"host:port to listen on; port 0 takes a free one. Keep it on loopback."`
	IdleTimeout Duration `toml:"idle_timeout" comment:"A stream on which nothing moves for this long is closed."`
}

// Registry is how registries are reached.
type Registry struct {
	CertsDir string `toml:"certs_dir" comment:"One directory a registry host, with a hosts.toml or certificate files."`
}

// Network is the pods' network.
type Network struct {
	Driver     string         `toml:"driver" comment:"auto: CNI if a configuration is in cni_conf_dir, else the bridge. bridge: never CNI."`
	CNIConfDir string         `toml:"cni_conf_dir" comment:"Where CNI configurations are looked for; \"none\" turns CNI off."`
	CNIBinDirs []string       `toml:"cni_bin_dirs" comment:"Where CNI plugins are looked for."`
	Subnets    []netip.Prefix `toml:"subnets" comment:"The bridge's subnets, IPv4 and IPv6. Empty: chosen so that no route of the node overlaps."`
	MTU        int            `toml:"mtu" comment:"0: that of the default route's link."`
}

// Cgroup is how pods' cgroups are made.
type Cgroup struct {
	Driver string `toml:"driver" comment:"cgroupfs. (systemd is not there yet.)"`
}

// Seccomp is the profile behind RuntimeDefault.
type Seccomp struct {
	DefaultProfile string `toml:"default_profile" comment:"A profile in Docker's JSON form for RuntimeDefault. Empty: the built-in one."`
}

// AppArmor is the profile behind RuntimeDefault.
type AppArmor struct {
	DefaultProfile string `toml:"default_profile" comment:"Name of a loaded profile for RuntimeDefault. Empty: unconfined, and RuntimeDefault by name is refused."`
}

// NRI is how plugins are reached.
type NRI struct {
	Enable             bool     `toml:"enable" comment:"Without plugins this costs nothing but a socket."`
	Socket             string   `toml:"socket" comment:"Plugins connect here, mode 0600. Empty: /var/run/nri/nri.sock, or nri.sock in the state directory if root or state are not the defaults."`
	DisableConnections bool     `toml:"disable_connections" comment:"Open no socket: only plugins in plugin_dir."`
	PluginDir          string   `toml:"plugin_dir" comment:"Plugins that start with the agent, named NN-NAME in the order of their calls."`
	PluginConfigDir    string   `toml:"plugin_config_dir" comment:"Their configurations: NN-NAME.conf or NAME.conf."`
	RegisterTimeout    Duration `toml:"registration_timeout" comment:"How long a plugin may take to register."`
	RequestTimeout     Duration `toml:"request_timeout" comment:"How long a plugin may take to answer; a slower one is disconnected."`
}

// Stop is what SIGTERM does.
type Stop struct {
	DrainOnExit bool     `toml:"drain_on_exit" comment:"Stop all pods and the monitor too. Otherwise they run on, and the next agent finds them."`
	DrainGrace  Duration `toml:"drain_grace" comment:"How long a container has to end after its stop signal while draining."`
}

// Duration is a time.Duration that is written "30s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Default is the configuration without a file.
func Default() Config {
	return Config{
		Root: layout.DefaultRoot, State: layout.DefaultState,
		Log:       Log{Level: "info", Format: "text"},
		Tracing:   Tracing{Sampling: 1},
		Streaming: Streaming{Address: "127.0.0.1:0", IdleTimeout: Duration(4 * time.Hour)},
		Registry:  Registry{CertsDir: "/etc/slipway/certs.d"},
		Network: Network{
			Driver: "auto", CNIConfDir: "/etc/cni/net.d",
			CNIBinDirs: []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"},
			Subnets:    []netip.Prefix{},
		},
		Cgroup: Cgroup{Driver: "cgroupfs"},
		CDI:    CDI{SpecDirs: []string{"/etc/cdi", "/var/run/cdi"}},
		NRI: NRI{
			Enable: true, PluginDir: "/opt/nri/plugins", PluginConfigDir: "/etc/nri/conf.d",
			RegisterTimeout: Duration(5 * time.Second), RequestTimeout: Duration(5 * time.Second),
		},
		Stop: Stop{DrainGrace: Duration(10 * time.Second)},
	}
}

// Load reads a file over the defaults. With file "" that is DefaultFile, which may be
// missing. A key that is not known is an error that gives its line (lifecycle.ErrInvalid). Call Check
// after the flags have been applied.
func Load(file string) (Config, error) {
	name, optional := file, false
	if name == "" {
		name, optional = DefaultFile, true
	}
	b, err := os.ReadFile(name)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	c, err := Parse(b)
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s:%w", name, err)
	}
	return c, nil
}

// Parse reads TOML over the defaults. Errors begin with "LINE:COLUMN: ".
func Parse(b []byte) (Config, error) {
	c := Default()
	d := toml.NewDecoder(strings.NewReader(string(b))).DisallowUnknownFields()
	err := d.Decode(&c)
	if err == nil {
		return c, nil
	}
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		var all []error
		for i := range strict.Errors {
			e := &strict.Errors[i]
			row, col := e.Position()
			all = append(all, fmt.Errorf("%d:%d: unknown key %s: %w", row, col, strings.Join(e.Key(), "."), lifecycle.ErrInvalid))
		}
		return Config{}, errors.Join(all...)
	}
	var syntax *toml.DecodeError
	if errors.As(err, &syntax) {
		row, col := syntax.Position()
		return Config{}, fmt.Errorf("%d:%d: %w: %w", row, col, err, lifecycle.ErrInvalid)
	}
	return Config{}, fmt.Errorf(" %w: %w", err, lifecycle.ErrInvalid)
}

// TOML prints c with a comment at each key; Parse reads it back.
func (c Config) TOML() ([]byte, error) {
	if c.Network.Subnets == nil {
		c.Network.Subnets = []netip.Prefix{}
	}
	b, err := toml.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return b, nil
}

// Layout is where c puts everything.
func (c *Config) Layout() layout.Layout { return layout.New(c.Root, c.State) }

// Check fills in what depends on other values and refuses what cannot work, naming the
// key (lifecycle.ErrInvalid).
func (c *Config) Check() error {
	if c.Socket == "" {
		c.Socket = c.Layout().Socket()
	}
	c.Socket = strings.TrimPrefix(c.Socket, "unix://")
	var all []error
	bad := func(key, format string, args ...any) {
		all = append(all, fmt.Errorf("%s: %s: %w", key, fmt.Sprintf(format, args...), lifecycle.ErrInvalid))
	}
	for _, p := range []struct {
		key, path string
		optional  bool
	}{
		{"root", c.Root, false}, {"state", c.State, false}, {"socket", c.Socket, false},
		{"registry.certs_dir", c.Registry.CertsDir, true}, {"seccomp.default_profile", c.Seccomp.DefaultProfile, true},
	} {
		if (p.path != "" || !p.optional) && !filepath.IsAbs(p.path) {
			bad(p.key, "%q is not absolute", p.path)
		}
	}
	if dir := c.Network.CNIConfDir; dir != "" && dir != None && !filepath.IsAbs(dir) {
		bad("network.cni_conf_dir", "%q is neither absolute nor %q", dir, None)
	}
	oneOf := func(key, v string, allowed ...string) {
		for _, a := range allowed {
			if v == a {
				return
			}
		}
		bad(key, "%q is not one of %s", v, strings.Join(allowed, ", "))
	}
	oneOf("log.format", c.Log.Format, "text", "json")
	oneOf("network.driver", c.Network.Driver, "auto", "bridge")
	oneOf("cgroup.driver", c.Cgroup.Driver, "cgroupfs")
	if _, err := logrus.ParseLevel(c.Log.Level); err != nil {
		bad("log.level", "%q is no level", c.Log.Level)
	}
	if _, _, err := net.SplitHostPort(c.Streaming.Address); err != nil {
		bad("streaming.address", "%q is not host:port", c.Streaming.Address)
	}
	if c.Network.MTU != 0 && (c.Network.MTU < 576 || c.Network.MTU > 65535) {
		bad("network.mtu", "%d is neither 0 nor in 576 to 65535", c.Network.MTU)
	}
	for _, p := range c.Network.Subnets {
		if p != p.Masked() {
			bad("network.subnets", "%s has bits beyond its length: %s", p, p.Masked())
		}
	}
	for key, path := range map[string]string{
		"nri.socket": c.NRI.Socket, "nri.plugin_dir": c.NRI.PluginDir, "nri.plugin_config_dir": c.NRI.PluginConfigDir,
	} {
		if path != "" && !filepath.IsAbs(path) {
			bad(key, "%q is not absolute", path)
		}
	}
	for key, d := range map[string]Duration{
		"nri.registration_timeout": c.NRI.RegisterTimeout, "nri.request_timeout": c.NRI.RequestTimeout,
	} {
		if d <= 0 {
			bad(key, "%s is not positive", time.Duration(d))
		}
	}
	c.checkObservability(bad)
	c.checkRuntime(bad)
	if c.Stop.DrainGrace < 0 {
		bad("stop.drain_grace", "%s is negative", time.Duration(c.Stop.DrainGrace))
	}
	if c.Streaming.IdleTimeout <= 0 {
		bad("streaming.idle_timeout", "%s is not positive", time.Duration(c.Streaming.IdleTimeout))
	}
	return errors.Join(all...)
}
