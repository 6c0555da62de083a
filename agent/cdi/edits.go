package cdi

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// edits are CDI's containerEdits.
type edits struct {
	Env            []string     `json:"env"`
	DeviceNodes    []deviceNode `json:"deviceNodes"`
	NetDevices     []netDevice  `json:"netDevices"`
	Hooks          []hook       `json:"hooks"`
	Mounts         []mount      `json:"mounts"`
	IntelRdt       *intelRdt    `json:"intelRdt"`
	AdditionalGids []uint32     `json:"additionalGids"`
}

type deviceNode struct {
	Path        string       `json:"path"`
	HostPath    string       `json:"hostPath"` // "" = Path
	Type        string       `json:"type"`     // b, c, u, p; "" = as on this machine
	Major       int64        `json:"major"`
	Minor       int64        `json:"minor"`
	FileMode    *os.FileMode `json:"fileMode"`
	Permissions string       `json:"permissions"` // of r, w, m; "" = all, "none"
	UID         *uint32      `json:"uid"`
	GID         *uint32      `json:"gid"`
}

type netDevice struct {
	HostInterfaceName string `json:"hostInterfaceName"`
	Name              string `json:"name"`
}

type hook struct {
	HookName string   `json:"hookName"`
	Path     string   `json:"path"`
	Args     []string `json:"args"`
	Env      []string `json:"env"`
	Timeout  *int     `json:"timeout"` // seconds
}

type mount struct {
	HostPath      string   `json:"hostPath"`
	ContainerPath string   `json:"containerPath"`
	Options       []string `json:"options"`
	Type          string   `json:"type"` // "" = bind
}

type intelRdt struct {
	ClosID        string   `json:"closID"`
	L3CacheSchema string   `json:"l3CacheSchema"`
	MemBwSchema   string   `json:"memBwSchema"`
	Schemata      []string `json:"schemata"`
	EnableCMT     bool     `json:"enableCMT"`
	EnableMBM     bool     `json:"enableMBM"`
	EnableMonitor bool     `json:"enableMonitoring"`
}

func (e *edits) check() error {
	for _, kv := range e.Env {
		if strings.IndexByte(kv, '=') < 1 || strings.ContainsRune(kv, 0) {
			return fmt.Errorf("env %q is not NAME=value", kv)
		}
	}
	for _, d := range e.DeviceNodes {
		switch {
		case !below(d.Path), d.HostPath != "" && !below(d.HostPath):
			return fmt.Errorf("deviceNodes: %q, %q: not an absolute path below the root", d.Path, d.HostPath)
		case !slices.Contains([]string{"", "b", "c", "u", "p"}, d.Type):
			return fmt.Errorf("deviceNodes: %s: type %q", d.Path, d.Type)
		case d.Major < 0, d.Minor < 0: // -1 would be every device
			return fmt.Errorf("deviceNodes: %s: numbers %d:%d", d.Path, d.Major, d.Minor)
		case d.Permissions != "none" && strings.Trim(d.Permissions, "rwm") != "":
			return fmt.Errorf("deviceNodes: %s: permissions %q", d.Path, d.Permissions)
		}
	}
	for _, m := range e.Mounts {
		if m.HostPath == "" || !below(m.ContainerPath) || strings.ContainsRune(m.HostPath, 0) {
			return fmt.Errorf("mounts: %q on %q", m.HostPath, m.ContainerPath)
		}
	}
	for _, h := range e.Hooks {
		if hookList(&specs.Hooks{}, h.HookName) == nil || !path.IsAbs(h.Path) || h.Timeout != nil && *h.Timeout <= 0 {
			return fmt.Errorf("hooks: %q runs %q: unknown moment, a path that is not absolute, or no timeout", h.HookName, h.Path)
		}
	}
	for _, n := range e.NetDevices {
		if n.HostInterfaceName == "" || n.Name == "" {
			return fmt.Errorf("netDevices: %q as %q", n.HostInterfaceName, n.Name)
		}
	}
	return nil
}

func below(p string) bool {
	return path.IsAbs(p) && path.Clean(p) != "/" && !strings.ContainsRune(p, 0)
}

// edit carries e out on s. A later edit of one thing takes the place of an earlier one.
func (in Injector) edit(s *specs.Spec, e *edits) error {
	for _, kv := range e.Env {
		name, _, _ := strings.Cut(kv, "=")
		i := slices.IndexFunc(s.Process.Env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		if i < 0 {
			s.Process.Env = append(s.Process.Env, kv)
		} else {
			s.Process.Env[i] = kv
		}
	}
	for _, d := range e.DeviceNodes {
		if err := in.node(s, d); err != nil {
			return err
		}
	}
	for _, m := range e.Mounts {
		dest := path.Clean(m.ContainerPath)
		s.Mounts = slices.DeleteFunc(s.Mounts, func(old specs.Mount) bool { return old.Destination == dest })
		s.Mounts = append(s.Mounts, m.oci(dest))
	}
	for _, h := range e.Hooks {
		if s.Hooks == nil {
			s.Hooks = &specs.Hooks{}
		}
		list := hookList(s.Hooks, h.HookName)
		*list = append(*list, specs.Hook{Path: h.Path, Args: h.Args, Env: h.Env, Timeout: h.Timeout})
	}
	for _, n := range e.NetDevices {
		if s.Linux.NetDevices == nil {
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{}
		}
		s.Linux.NetDevices[n.HostInterfaceName] = specs.LinuxNetDevice{Name: n.Name}
	}
	if r := e.IntelRdt; r != nil {
		s.Linux.IntelRdt = &specs.LinuxIntelRdt{
			ClosID: r.ClosID, L3CacheSchema: r.L3CacheSchema, MemBwSchema: r.MemBwSchema, Schemata: r.Schemata,
			EnableMonitoring: r.EnableCMT || r.EnableMBM || r.EnableMonitor,
		}
	}
	for _, g := range e.AdditionalGids {
		// 0 would be root's group by a default value.
		if u := &s.Process.User; g != 0 && !slices.Contains(u.AdditionalGids, g) {
			u.AdditionalGids = append(u.AdditionalGids, g)
		}
	}
	return nil
}

func (m mount) oci(dest string) specs.Mount {
	out := specs.Mount{Destination: dest, Type: m.Type, Source: m.HostPath, Options: m.Options}
	if out.Type == "" {
		out.Type = "bind"
	}
	if out.Type == "bind" && !slices.Contains(out.Options, "bind") && !slices.Contains(out.Options, "rbind") {
		out.Options = append([]string{"rbind"}, out.Options...)
	}
	return out
}

// hookList is the list of a moment's hooks; nil for a moment that there is not.
func hookList(h *specs.Hooks, moment string) *[]specs.Hook {
	switch moment {
	case "prestart":
		//lint:ignore SA1019 CDI files still have it, and passing over a hook would be wrong
		return &h.Prestart
	case "createRuntime":
		return &h.CreateRuntime
	case "createContainer":
		return &h.CreateContainer
	case "startContainer":
		return &h.StartContainer
	case "poststart":
		return &h.Poststart
	case "poststop":
		return &h.Poststop
	}
	return nil
}

// node adds a device node, and lets the cgroup allow it. Without an owner of its own it belongs to
// the process's user, who could not open it otherwise.
func (in Injector) node(s *specs.Spec, d deviceNode) error {
	n := specs.LinuxDevice{Path: path.Clean(d.Path), Type: d.Type, Major: d.Major, Minor: d.Minor, FileMode: d.FileMode, UID: d.UID, GID: d.GID}
	if err := in.complete(&n, d); err != nil {
		return err
	}
	if u := s.Process.User; n.UID == nil && u.UID != 0 {
		n.UID = &u.UID
	}
	if u := s.Process.User; n.GID == nil && u.GID != 0 {
		n.GID = &u.GID
	}
	s.Linux.Devices = slices.DeleteFunc(s.Linux.Devices, func(old specs.LinuxDevice) bool { return old.Path == n.Path })
	s.Linux.Devices = append(s.Linux.Devices, n)
	if n.Type == "p" || d.Permissions == "none" {
		return nil
	}
	rule := specs.LinuxDeviceCgroup{Allow: true, Type: n.Type, Major: &n.Major, Minor: &n.Minor, Access: d.Permissions}
	if rule.Access == "" {
		rule.Access = "rwm"
	}
	if rule.Type == "u" { // an unbuffered character device is one to the cgroup too
		rule.Type = "c"
	}
	s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, rule)
	return nil
}

// complete takes what the file left out from this machine's node.
func (in Injector) complete(n *specs.LinuxDevice, d deviceNode) error {
	if n.Type == "p" || n.Type != "" && (n.Major != 0 || n.Minor != 0) {
		return nil
	}
	host := d.HostPath
	if host == "" {
		host = n.Path
	}
	if in.Device == nil {
		return fmt.Errorf("device %s: %w", host, lifecycle.ErrUnsupported)
	}
	found, err := in.Device(host)
	if err != nil {
		return fmt.Errorf("device %s: %w", host, err)
	}
	if len(found) != 1 || found[0].Path != host && path.Clean(found[0].Path) != path.Clean(host) {
		return fmt.Errorf("device %s is not one node: %w", host, lifecycle.ErrInvalid)
	}
	if n.Type != "" && n.Type != found[0].Type {
		return fmt.Errorf("device %s is of type %s, not %s: %w", host, found[0].Type, n.Type, lifecycle.ErrInvalid)
	}
	n.Type, n.Major, n.Minor = found[0].Type, found[0].Major, found[0].Minor
	if n.FileMode == nil {
		n.FileMode = found[0].FileMode
	}
	return nil
}
