package plan

import (
	"fmt"
	"slices"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/spec"
)

var nsFlags = map[specs.LinuxNamespaceType]uint32{
	specs.UserNamespace:    unix.CLONE_NEWUSER,
	specs.CgroupNamespace:  unix.CLONE_NEWCGROUP,
	specs.IPCNamespace:     unix.CLONE_NEWIPC,
	specs.UTSNamespace:     unix.CLONE_NEWUTS,
	specs.NetworkNamespace: unix.CLONE_NEWNET,
	specs.PIDNamespace:     unix.CLONE_NEWPID,
	specs.MountNamespace:   unix.CLONE_NEWNS,
}

// joinOrder: the user namespace first, since it grants the right to join those it owns;
// the mount namespace last, since the paths of the others are seen from the old one.
var joinOrder = []uint32{
	unix.CLONE_NEWUSER, unix.CLONE_NEWCGROUP, unix.CLONE_NEWIPC, unix.CLONE_NEWUTS, unix.CLONE_NEWNET, unix.CLONE_NEWNS,
}

// namespaces maps the list onto clone flags (no path) and joins (a path). Two are
// special: a PID namespace cannot be joined, only be born in; a new cgroup namespace
// takes the cgroup of its maker as its root, so init makes it itself, once it is there.
func (p *Plan) namespaces(l *specs.Linux, o Options) error {
	paths := map[uint32]string{}
	var seen uint32
	for i, n := range l.Namespaces {
		flag, ok := nsFlags[n.Type]
		if !ok {
			return fmt.Errorf("linux.namespaces[%d].type: %q: %w", i, n.Type, spec.ErrUnsupported)
		}
		if seen&flag != 0 {
			return fmt.Errorf("linux.namespaces[%d].type: second %q: %w", i, n.Type, spec.ErrInvalid)
		}
		seen |= flag
		switch {
		case flag == unix.CLONE_NEWCGROUP && !o.Features.CgroupNS:
			return fmt.Errorf("linux.namespaces[%d].type: this kernel has no cgroup namespaces: %w", i, spec.ErrUnsupported)
		case n.Path != "":
			paths[flag] = n.Path
		case flag == unix.CLONE_NEWCGROUP:
			p.Init.Unshare |= flag
		default:
			p.CloneFlags |= uintptr(flag)
		}
	}
	p.JoinPID = paths[unix.CLONE_NEWPID]
	for _, flag := range joinOrder {
		if path, ok := paths[flag]; ok {
			p.Init.Joins = append(p.Init.Joins, initconf.Join{Flag: flag, Path: path})
		}
	}
	if p.JoinUser = paths[unix.CLONE_NEWUSER]; p.JoinUser != "" {
		p.ParentJoins, p.Init.Joins = p.Init.Joins[1:], nil
	}
	if p.CloneFlags&unix.CLONE_NEWUSER != 0 {
		p.UIDMap, p.GIDMap = idMap(l.UIDMappings), idMap(l.GIDMappings)
	}
	return nil
}

// mappings passes mounts whose ids are mapped as the joined user namespace maps them; another
// mapping would take a user namespace that is made for nothing else.
func (p *Plan) mappings(list []specs.Mount, l *specs.Linux) error {
	for i, m := range list {
		if len(m.UIDMappings) == 0 && len(m.GIDMappings) == 0 {
			continue
		}
		if p.JoinUser == "" {
			return fmt.Errorf("mounts[%d].uidMappings, gidMappings: without joining a user namespace: %w", i, spec.ErrUnsupported)
		}
		if !slices.Equal(m.UIDMappings, l.UIDMappings) || !slices.Equal(m.GIDMappings, l.GIDMappings) {
			return fmt.Errorf("mounts[%d].uidMappings, gidMappings: not those of the user namespace: %w", i, spec.ErrUnsupported)
		}
	}
	return nil
}

func idMap(in []specs.LinuxIDMapping) []syscall.SysProcIDMap {
	out := make([]syscall.SysProcIDMap, len(in))
	for i, m := range in {
		out[i] = syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)}
	}
	return out
}
