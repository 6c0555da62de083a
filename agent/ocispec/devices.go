package ocispec

import (
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultDeviceRules let a container make nodes of any device, and use the harmless ones.
// The nodes themselves are the runtime's to supply (runtime-spec, "Default Devices").
func defaultDeviceRules() []specs.LinuxDeviceCgroup {
	allow := func(kind, access string, numbers ...int64) specs.LinuxDeviceCgroup {
		r := specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: access}
		if len(numbers) > 0 {
			r.Major = &numbers[0]
		}
		if len(numbers) > 1 {
			r.Minor = &numbers[1]
		}
		return r
	}
	return []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		allow("c", "m"), allow("b", "m"),
		allow("c", "rwm", 1, 3), // null
		allow("c", "rwm", 1, 5), // zero
		allow("c", "rwm", 1, 7), // full
		allow("c", "rwm", 1, 8), // random
		allow("c", "rwm", 1, 9), // urandom
		allow("c", "rwm", 5, 0), // tty
		allow("c", "rwm", 5, 1), // console
		allow("c", "rwm", 5, 2), // ptmx
		allow("c", "rwm", 136),  // pts/*
	}
}

func (b *builder) devices() error {
	rules := defaultDeviceRules()
	nodes := make(map[string]int)
	add := func(d specs.LinuxDevice) {
		if i, ok := nodes[d.Path]; ok {
			b.spec.Linux.Devices[i] = d
			return
		}
		nodes[d.Path] = len(b.spec.Linux.Devices)
		b.spec.Linux.Devices = append(b.spec.Linux.Devices, d)
	}
	if b.privileged && !b.in.Host.NoHostDevices {
		rules = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		for _, d := range b.in.Host.Devices {
			add(d)
		}
	}
	for i, d := range b.in.Config.GetDevices() {
		host, dest := d.GetHostPath(), d.GetContainerPath()
		if dest == "" {
			dest = host
		}
		access := d.GetPermissions()
		switch {
		case !path.IsAbs(host), strings.ContainsRune(host, 0):
			return invalid("devices", "[%d]: host_path %q is not absolute", i, host)
		case !path.IsAbs(dest), path.Clean(dest) == "/", strings.ContainsRune(dest, 0):
			return invalid("devices", "[%d]: container_path %q is no absolute path below the root", i, dest)
		case strings.Trim(access, "rwm") != "":
			return invalid("devices", "[%d]: permissions %q of %s are not of r, w and m", i, access, host)
		case b.in.Host.Device == nil:
			return unsupported("devices", host)
		}
		if access == "" {
			access = "rwm"
		}
		found, err := b.in.Host.Device(host)
		if err != nil {
			return fmt.Errorf("devices: %s: %w", host, err)
		}
		for _, f := range found {
			// Of a directory, every node keeps its place below it.
			rest, below := strings.CutPrefix(f.Path, path.Clean(host)+"/")
			if !below {
				rest = ""
			}
			f.Path = path.Join(dest, rest)
			add(f)
			major, minor := f.Major, f.Minor
			rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: f.Type, Major: &major, Minor: &minor, Access: access})
		}
	}
	b.spec.Linux.Resources.Devices = rules
	return nil
}

// cdi applies devices by name, once the spec has all else that their edits may replace.
func (b *builder) cdi() error {
	var names []string
	for _, d := range b.in.Config.GetCDIDevices() {
		names = append(names, d.GetName())
	}
	if b.in.Host.CDI == nil {
		if len(names) > 0 {
			return unsupported("CDI_devices", "device injection by CDI")
		}
		return nil
	}
	if err := b.in.Host.CDI(b.spec, names, b.in.Config.GetAnnotations()); err != nil {
		return err
	}
	status := b.out.User.GetLinux()
	status.SupplementalGroups = nil
	for _, g := range b.spec.Process.User.AdditionalGids {
		status.SupplementalGroups = append(status.SupplementalGroups, int64(g))
	}
	return nil
}
