package ocispec

import (
	"slices"
	"strings"
	"sync"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultCapabilities are the fourteen that Docker, containerd and Kubernetes' documentation know.
var defaultCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
	"CAP_MKNOD", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID",
	"CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// knownCapabilities are all names of the kernel's capability.h, sorted.
var knownCapabilities = sync.OnceValue(func() []string {
	var names []string
	for _, c := range capability.ListKnown() {
		names = append(names, "CAP_"+strings.ToUpper(c.String()))
	}
	slices.Sort(names)
	return names
})

// capabilities sets bounding, effective and permitted to one set. Inheritable stays empty
// (CVE-2022-29162) but for what the request makes ambient, which the kernel wants there too
// (capabilities(7)). What the agent itself does not have is left out.
func (b *builder) capabilities() error {
	const field = "linux.security_context.capabilities."
	c := b.security.GetCapabilities()
	add, addAll, err := capabilityNames(field+"add_capabilities", c.GetAddCapabilities())
	if err != nil {
		return err
	}
	drop, dropAll, err := capabilityNames(field+"drop_capabilities", c.GetDropCapabilities())
	if err != nil {
		return err
	}
	ambient, ambientAll, err := capabilityNames(field+"add_ambient_capabilities", c.GetAddAmbientCapabilities())
	if err != nil {
		return err
	}
	set := slices.Clone(defaultCapabilities)
	// ALL first, so that "add ALL, drop one" and "drop ALL, add one" both mean what they say.
	switch {
	case b.privileged, addAll && !dropAll:
		set = slices.Clone(knownCapabilities())
	case dropAll:
		set = nil
	}
	if ambientAll {
		ambient = slices.Clone(set)
	}
	if !b.privileged {
		gone := func(name string) bool { return slices.Contains(drop, name) }
		set = slices.DeleteFunc(slices.Concat(set, add, ambient), gone)
		ambient = slices.DeleteFunc(ambient, gone)
	}
	set, ambient = b.allowed(set), b.allowed(ambient)
	b.spec.Process.Capabilities = &specs.LinuxCapabilities{
		Bounding: set, Effective: slices.Clone(set), Permitted: slices.Clone(set),
		Inheritable: slices.Clone(ambient), Ambient: ambient,
	}
	return nil
}

// capabilityNames normalises names; "ALL" is told apart.
func capabilityNames(field string, names []string) (list []string, all bool, err error) {
	for _, n := range names {
		name := strings.ToUpper(n)
		if name == "ALL" {
			all = true
			continue
		}
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		if _, ok := slices.BinarySearch(knownCapabilities(), name); !ok {
			return nil, false, invalid(field, "unknown capability %q", n)
		}
		list = append(list, name)
	}
	return list, all, nil
}

// allowed sorts, removes duplicates, and keeps what the agent may hand out.
func (b *builder) allowed(set []string) []string {
	slices.Sort(set)
	set = slices.Compact(set)
	if b.in.Host.BoundingCaps == nil {
		return set
	}
	return slices.DeleteFunc(set, func(name string) bool {
		return !slices.Contains(b.in.Host.BoundingCaps, name)
	})
}
