package config

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

var update = flag.Bool("update", false, "rewrite the golden file")

func TestDefaultsGolden(t *testing.T) {
	got, err := Default().TOML()
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/default.toml"
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("run with -update if this is meant (-want +got):\n%s", d)
	}
	back, err := Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Default(), back, cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		t.Errorf("what is printed reads back as something else:\n%s", d)
	}
}

func TestParse(t *testing.T) {
	c, err := Parse([]byte("root = '/r'\n[network]\nsubnets = ['10.9.0.0/16', 'fd00:9::/64']\nmtu = 1400\n[stop]\ndrain_grace = '3s'\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Root != "/r" || c.Network.MTU != 1400 || len(c.Network.Subnets) != 2 || time.Duration(c.Stop.DrainGrace) != 3*time.Second {
		t.Errorf("%+v", c)
	}
	if c.State != Default().State || c.Log.Level != "info" {
		t.Errorf("defaults were lost: %+v", c)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	if c.Socket != "/run/slipway/slipway.sock" {
		t.Errorf("socket %q", c.Socket)
	}
}

func TestParseErrorsGiveTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"root = '/r'\nrot = '/x'\n":              "2:1: unknown key rot",
		"[network]\nmtu = 1500\n\nfoo = 1\n":     "4:1: unknown key network.foo",
		"[network]\nmtu = 'big'\n":               "2:7: ",
		"[stop]\ndrain_grace = 'x'\n":            "2:15: ",
		"[network]\nsubnets = ['10.0.0.0/99']\n": "2:",
		"root = \n":                              "1:",
	} {
		_, err := Parse([]byte(text))
		if !errors.Is(err, lifecycle.ErrInvalid) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestCheckNamesTheKey(t *testing.T) {
	for key, change := range map[string]func(*Config){
		"root":                     func(c *Config) { c.Root = "r" },
		"state":                    func(c *Config) { c.State = "" },
		"socket":                   func(c *Config) { c.Socket = "tcp://x" },
		"log.level":                func(c *Config) { c.Log.Level = "loud" },
		"log.format":               func(c *Config) { c.Log.Format = "xml" },
		"streaming.address":        func(c *Config) { c.Streaming.Address = "here" },
		"streaming.idle_timeout":   func(c *Config) { c.Streaming.IdleTimeout = 0 },
		"registry.certs_dir":       func(c *Config) { c.Registry.CertsDir = "certs" },
		"network.driver":           func(c *Config) { c.Network.Driver = "flannel" },
		"network.cni_conf_dir":     func(c *Config) { c.Network.CNIConfDir = "off" },
		"network.mtu":              func(c *Config) { c.Network.MTU = 10 },
		"network.subnets":          func(c *Config) { c.Network.Subnets = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")} },
		"cgroup.driver":            func(c *Config) { c.Cgroup.Driver = "systemd" },
		"seccomp.default_profile":  func(c *Config) { c.Seccomp.DefaultProfile = "p.json" },
		"nri.socket":               func(c *Config) { c.NRI.Socket = "nri.sock" },
		"nri.plugin_dir":           func(c *Config) { c.NRI.PluginDir = "plugins" },
		"nri.request_timeout":      func(c *Config) { c.NRI.RequestTimeout = 0 },
		"nri.registration_timeout": func(c *Config) { c.NRI.RegisterTimeout = -1 },
		"stop.drain_grace":         func(c *Config) { c.Stop.DrainGrace = -1 },
	} {
		c := Default()
		change(&c)
		if err := c.Check(); !errors.Is(err, lifecycle.ErrInvalid) || !strings.Contains(err.Error(), key+": ") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(file, []byte("x = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), file+":1:1: unknown key x") {
		t.Error(err)
	}
	if _, err := Load(file + ".missing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a named file must be there: %v", err)
	}
}
