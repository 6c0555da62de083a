package plan

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/spec"
)

// process plans everything between the last mount and the exec.
func process(c *initconf.Config, p *specs.Process, field string, o Options) error {
	if len(p.Args) == 0 {
		return fmt.Errorf("%s.args: empty: %w", field, spec.ErrInvalid)
	}
	c.NewSession, c.NewKeyring = true, !o.KeepKeyring
	c.Args, c.Env = p.Args, p.Env
	c.Cwd, c.CreateCwd = "/", true
	if p.Cwd != "" {
		c.Cwd = filepath.Clean(p.Cwd)
	}
	if p.Terminal {
		c.Terminal = true
		if b := p.ConsoleSize; b != nil {
			c.ConsoleHeight = uint16(min(b.Height, math.MaxUint16))
			c.ConsoleWidth = uint16(min(b.Width, math.MaxUint16))
		}
	}
	c.UID, c.GID, c.Gids = p.User.UID, p.User.GID, p.User.AdditionalGids
	if p.User.Umask != nil {
		c.Umask, c.HasUmask = *p.User.Umask, true
	}
	if p.OOMScoreAdj != nil {
		c.OOMScoreAdj, c.HasOOMScoreAdj = *p.OOMScoreAdj, true
	}
	c.NoNewPrivs = p.NoNewPrivileges
	c.AppArmor, c.SELinux = p.ApparmorProfile, p.SelinuxLabel
	if err := rlimits(c, p.Rlimits, field); err != nil {
		return err
	}
	return capabilities(c, p.Capabilities, field, o)
}

func rlimits(c *initconf.Config, in []specs.POSIXRlimit, field string) error {
	c.Rlimits = make([]initconf.Rlimit, len(in))
	for i, l := range in {
		n, ok := spec.Rlimit(l.Type)
		if !ok {
			return fmt.Errorf("%s.rlimits[%d].type: unknown %q: %w", field, i, l.Type, spec.ErrInvalid)
		}
		c.Rlimits[i] = initconf.Rlimit{Resource: n, Soft: l.Soft, Hard: l.Hard}
	}
	return nil
}

// capabilities turns names into masks within what the kernel knows and the runtime may
// give. The inheritable set of the spec is not honoured: a non-empty one lets files with
// inheritable capabilities raise them (CVE-2022-29162). The kernel demands that ambient
// capabilities be inheritable, so those and only those are.
func capabilities(c *initconf.Config, in *specs.LinuxCapabilities, field string, o Options) error {
	if in == nil {
		return nil
	}
	allowed := o.AllowedCaps
	if o.LastCap > 0 && o.LastCap < 63 {
		allowed &= 1<<(o.LastCap+1) - 1
	}
	k := &c.Capabilities
	for _, set := range []struct {
		name string
		in   []string
		out  *uint64
	}{
		{"bounding", in.Bounding, &k.Bounding}, {"effective", in.Effective, &k.Effective},
		{"permitted", in.Permitted, &k.Permitted}, {"ambient", in.Ambient, &k.Ambient},
	} {
		for i, name := range set.in {
			n, ok := spec.Capability(name)
			if !ok {
				return fmt.Errorf("%s.capabilities.%s[%d]: unknown %q: %w", field, set.name, i, name, spec.ErrInvalid)
			}
			*set.out |= 1 << n & allowed
		}
	}
	k.Effective &= k.Permitted
	k.Ambient &= k.Permitted
	k.Inheritable = k.Ambient
	return nil
}

func sysctls(in map[string]string) []initconf.Sysctl {
	out := make([]initconf.Sysctl, 0, len(in))
	for name, value := range in {
		out = append(out, initconf.Sysctl{Path: spec.SysctlPath(name), Value: value})
	}
	slices.SortFunc(out, func(a, b initconf.Sysctl) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// defaultDevices are in every container (runtime-spec, config-linux.md, "Default
// Devices"); /dev/console, /dev/ptmx and the links are init's.
var defaultDevices = []initconf.Device{
	{Path: "/dev/null", Type: 'c', Major: 1, Minor: 3, Mode: 0o666},
	{Path: "/dev/zero", Type: 'c', Major: 1, Minor: 5, Mode: 0o666},
	{Path: "/dev/full", Type: 'c', Major: 1, Minor: 7, Mode: 0o666},
	{Path: "/dev/random", Type: 'c', Major: 1, Minor: 8, Mode: 0o666},
	{Path: "/dev/urandom", Type: 'c', Major: 1, Minor: 9, Mode: 0o666},
	{Path: "/dev/tty", Type: 'c', Major: 5, Minor: 0, Mode: 0o666},
}

// devices plans the nodes of /dev; none where /dev itself is bound from outside, which
// the container must not change.
func devices(c *initconf.Config, in []specs.LinuxDevice) error {
	if slices.ContainsFunc(c.Mounts, func(m initconf.Mount) bool { return m.Type == "bind" && m.Destination == "/dev" }) {
		return nil
	}
	c.DevSymlinks = true
	c.Devices = make([]initconf.Device, 0, len(defaultDevices)+len(in))
	for _, d := range defaultDevices {
		if !slices.ContainsFunc(in, func(s specs.LinuxDevice) bool { return filepath.Clean(s.Path) == d.Path }) {
			c.Devices = append(c.Devices, d)
		}
	}
	for i, d := range in {
		n := initconf.Device{Path: filepath.Clean(d.Path), Major: uint32(d.Major), Minor: uint32(d.Minor), Mode: 0o666}
		switch d.Type {
		case "c", "u":
			n.Type = 'c'
		case "b", "p":
			n.Type = d.Type[0]
		default:
			return fmt.Errorf("linux.devices[%d].type: unknown %q: %w", i, d.Type, spec.ErrInvalid)
		}
		if d.FileMode != nil {
			n.Mode = uint32(d.FileMode.Perm())
		}
		if d.UID != nil {
			n.UID = *d.UID
		}
		if d.GID != nil {
			n.GID = *d.GID
		}
		c.Devices = append(c.Devices, n)
	}
	return nil
}
