package initconf

import (
	"errors"

	"github.com/slipway-cri/slipway/oci/wire"
)

// version changes with every change of the encoding. init and its parent come from one
// build (the memfd is made from the file beside the monitor), so a mismatch is an error.
const version = 4

// Encode returns the message that Decode reads.
func (c *Config) Encode() []byte {
	w := &wire.Writer{}
	w.Grow(len(c.Seccomp) + 4096) // a CRI container's without its filter: 2 to 3 KiB
	w.Uint(version)
	w.Uint(uint64(c.Mode))
	w.Strings(c.Cgroups)
	w.Int(int64(c.Extra))
	w.Int(int64(c.OOMScoreAdj))
	w.Bool(c.HasOOMScoreAdj)
	w.Uint(uint64(len(c.Joins)))
	for _, j := range c.Joins {
		w.Uint(uint64(j.Flag))
		w.String(j.Path)
	}
	w.Uint(uint64(c.TargetFlags))
	w.Uint(uint64(c.Unshare))
	w.Bool(c.NewSession)
	w.Bool(c.NewKeyring)
	w.Bool(c.StartFIFO)
	w.String(c.Hostname)
	w.String(c.Domainname)
	w.Uint(uint64(len(c.Sysctls)))
	for _, s := range c.Sysctls {
		w.String(s.Path)
		w.String(s.Value)
	}
	c.Root.encode(w)
	w.Uint(uint64(len(c.Mounts)))
	for i := range c.Mounts {
		c.Mounts[i].encode(w)
	}
	w.Uint(uint64(len(c.Devices)))
	for _, d := range c.Devices {
		w.String(d.Path)
		w.Uint(uint64(d.Type))
		w.Uint(uint64(d.Major))
		w.Uint(uint64(d.Minor))
		w.Uint(uint64(d.Mode))
		w.Uint(uint64(d.UID))
		w.Uint(uint64(d.GID))
	}
	w.Bool(c.DevSymlinks)
	w.Strings(c.MaskedPaths)
	w.Strings(c.ReadonlyPaths)
	w.Bool(c.Terminal)
	w.Uint(uint64(c.ConsoleHeight))
	w.Uint(uint64(c.ConsoleWidth))
	c.encodeProcess(w)
	return w.Bytes()
}

func (c *Config) encodeProcess(w *wire.Writer) {
	w.Uint(uint64(len(c.Rlimits)))
	for _, l := range c.Rlimits {
		w.Uint(uint64(l.Resource))
		w.Uint(l.Soft)
		w.Uint(l.Hard)
	}
	k := c.Capabilities
	for _, set := range []uint64{k.Bounding, k.Effective, k.Permitted, k.Inheritable, k.Ambient} {
		w.Uint(set)
	}
	w.Bool(c.NoNewPrivs)
	w.Blob(c.Seccomp)
	w.Uint(uint64(c.SeccompFlags))
	w.String(c.AppArmor)
	w.String(c.SELinux)
	w.Uint(uint64(c.UID))
	w.Uint(uint64(c.GID))
	w.Uint(uint64(len(c.Gids)))
	for _, g := range c.Gids {
		w.Uint(uint64(g))
	}
	w.Uint(uint64(c.Umask))
	w.Bool(c.HasUmask)
	w.String(c.Cwd)
	w.Bool(c.CreateCwd)
	w.Strings(c.Args)
	w.Strings(c.Env)
}

func (r *Root) encode(w *wire.Writer) {
	w.String(r.LowerBase)
	w.Strings(r.Lower)
	w.String(r.Upper)
	w.String(r.Work)
	w.String(r.OverlayOptions)
	w.String(r.Bind)
	w.Int(int64(r.FD))
	w.Bool(r.Readonly)
	w.Uint(r.Propagation)
	w.String(r.Label)
}

func (m *Mount) encode(w *wire.Writer) {
	w.String(m.Type)
	w.String(m.Source)
	w.String(m.Destination)
	w.Uint(m.Flags)
	w.Uint(m.ClearFlags)
	w.Uint(uint64(len(m.Propagation)))
	for _, p := range m.Propagation {
		w.Uint(p)
	}
	w.Uint(m.RecAttrSet)
	w.Uint(m.RecAttrClear)
	w.String(m.Data)
	w.Bool(m.Optional)
	w.Bool(m.CgroupView)
	w.Bool(m.CopyUp)
	w.String(m.LayerBase)
	w.Strings(m.Layers)
	w.String(m.SubPath)
	w.Int(int64(m.SourceFD))
	w.Bool(m.Mapped)
}

// Decode reads a message of Encode, whole: bytes after its end are an error. Strings are
// copies; Seccomp aliases b.
func Decode(b []byte) (*Config, error) {
	r := wire.NewReader(b)
	if v := r.Uint(); v != version {
		return nil, errors.New("init configuration of another version: slipway-init and its parent are not from one build")
	}
	c := &Config{Mode: Mode(r.Uint())}
	c.Cgroups = r.Strings()
	c.Extra = int(r.Int())
	c.OOMScoreAdj = int(r.Int())
	c.HasOOMScoreAdj = r.Bool()
	for range r.Count(2) {
		c.Joins = append(c.Joins, Join{Flag: uint32(r.Uint()), Path: r.String()})
	}
	c.TargetFlags = uint32(r.Uint())
	c.Unshare = uint32(r.Uint())
	c.NewSession = r.Bool()
	c.NewKeyring = r.Bool()
	c.StartFIFO = r.Bool()
	c.Hostname = r.String()
	c.Domainname = r.String()
	for range r.Count(2) {
		c.Sysctls = append(c.Sysctls, Sysctl{Path: r.String(), Value: r.String()})
	}
	c.Root.decode(r)
	for range r.Count(14) {
		var m Mount
		m.decode(r)
		c.Mounts = append(c.Mounts, m)
	}
	for range r.Count(7) {
		c.Devices = append(c.Devices, Device{
			Path: r.String(), Type: byte(r.Uint()), Major: uint32(r.Uint()), Minor: uint32(r.Uint()),
			Mode: uint32(r.Uint()), UID: uint32(r.Uint()), GID: uint32(r.Uint()),
		})
	}
	c.DevSymlinks = r.Bool()
	c.MaskedPaths = r.Strings()
	c.ReadonlyPaths = r.Strings()
	c.Terminal = r.Bool()
	c.ConsoleHeight = uint16(r.Uint())
	c.ConsoleWidth = uint16(r.Uint())
	c.decodeProcess(r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	if r.Len() > 0 {
		return nil, errors.New("init configuration: bytes after its end")
	}
	return c, nil
}

func (c *Config) decodeProcess(r *wire.Reader) {
	for range r.Count(3) {
		c.Rlimits = append(c.Rlimits, Rlimit{Resource: uint32(r.Uint()), Soft: r.Uint(), Hard: r.Uint()})
	}
	k := &c.Capabilities
	for _, set := range []*uint64{&k.Bounding, &k.Effective, &k.Permitted, &k.Inheritable, &k.Ambient} {
		*set = r.Uint()
	}
	c.NoNewPrivs = r.Bool()
	c.Seccomp = r.Blob()
	c.SeccompFlags = uint32(r.Uint())
	c.AppArmor = r.String()
	c.SELinux = r.String()
	c.UID = uint32(r.Uint())
	c.GID = uint32(r.Uint())
	for range r.Count(1) {
		c.Gids = append(c.Gids, uint32(r.Uint()))
	}
	c.Umask = uint32(r.Uint())
	c.HasUmask = r.Bool()
	c.Cwd = r.String()
	c.CreateCwd = r.Bool()
	c.Args = r.Strings()
	c.Env = r.Strings()
}

func (r *Root) decode(d *wire.Reader) {
	r.LowerBase = d.String()
	r.Lower = d.Strings()
	r.Upper = d.String()
	r.Work = d.String()
	r.OverlayOptions = d.String()
	r.Bind = d.String()
	r.FD = int(d.Int())
	r.Readonly = d.Bool()
	r.Propagation = d.Uint()
	r.Label = d.String()
}

func (m *Mount) decode(r *wire.Reader) {
	m.Type = r.String()
	m.Source = r.String()
	m.Destination = r.String()
	m.Flags = r.Uint()
	m.ClearFlags = r.Uint()
	for range r.Count(1) {
		m.Propagation = append(m.Propagation, r.Uint())
	}
	m.RecAttrSet = r.Uint()
	m.RecAttrClear = r.Uint()
	m.Data = r.String()
	m.Optional = r.Bool()
	m.CgroupView = r.Bool()
	m.CopyUp = r.Bool()
	m.LayerBase = r.String()
	m.Layers = r.Strings()
	m.SubPath = r.String()
	m.SourceFD = int(r.Int())
	m.Mapped = r.Bool()
}
