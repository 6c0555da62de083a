package nri

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// adjust changes s as plugins asked; changed says that they asked for anything. What oci does not carry out (schedulers, memory policies, RDT …) is put into the
// spec all the same, and refused with its field's name when the process is made.
//
// nri's own runtime-tools/generate wants a 30-method generator whose only implementation that is light is internal
// to it; this is half of its size, and can refuse.
func (n *NRI) adjust(s *specs.Spec, a *adaptation.ContainerAdjustment) (changed bool, err error) {
	if a = a.Strip(); a == nil {
		return false, nil
	}
	if a.GetHooks().Hooks() != nil {
		return false, fmt.Errorf("OCI hooks: %w", lifecycle.ErrUnsupported)
	}
	if err := n.cdi(s, a.GetCDIDevices()); err != nil {
		return false, err
	}
	adjustProcess(s, a)
	adjustMap(&s.Annotations, a.GetAnnotations())
	if err := adjustMounts(s, a.GetMounts()); err != nil {
		return false, err
	}
	return true, n.adjustLinux(s, a.GetLinux())
}

// remove takes away from s what is not in left, the container as the last plugin saw it: adaptation does not say
// otherwise that a plugin removed a variable or a device of the request.
func remove(s *specs.Spec, left *adaptation.Container) (changed bool) {
	names, paths := map[string]bool{}, map[string]bool{}
	for _, kv := range left.GetEnv() {
		names[envName(kv)] = true
	}
	for _, d := range left.GetLinux().GetDevices() {
		paths[d.GetPath()] = true
	}
	env := slices.DeleteFunc(slices.Clone(s.Process.Env), func(kv string) bool { return !names[envName(kv)] })
	devices := slices.DeleteFunc(slices.Clone(s.Linux.Devices), func(d specs.LinuxDevice) bool { return !paths[d.Path] })
	changed = len(env) != len(s.Process.Env) || len(devices) != len(s.Linux.Devices)
	s.Process.Env, s.Linux.Devices = env, devices
	return changed
}

func envName(kv string) string {
	name, _, _ := strings.Cut(kv, "=")
	return name
}

func (n *NRI) cdi(s *specs.Spec, devices []*api.CDIDevice) error {
	if len(devices) == 0 {
		return nil
	}
	if n.o.InjectCDI == nil {
		return fmt.Errorf("device injection by CDI: %w", lifecycle.ErrUnsupported)
	}
	var names []string
	for _, d := range devices {
		names = append(names, d.GetName())
	}
	return n.o.InjectCDI(s, names)
}

func adjustProcess(s *specs.Spec, a *adaptation.ContainerAdjustment) {
	p := s.Process
	if args := a.GetArgs(); len(args) > 0 {
		p.Args = args
	}
	for _, e := range a.GetEnv() {
		name, removed := e.IsMarkedForRemoval()
		at := slices.IndexFunc(p.Env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
		switch {
		case removed && at >= 0:
			p.Env = slices.Delete(slices.Clone(p.Env), at, at+1)
		case removed:
		case at >= 0:
			p.Env = slices.Clone(p.Env)
			p.Env[at] = e.ToOCI()
		default:
			p.Env = append(slices.Clip(p.Env), e.ToOCI())
		}
	}
	for _, r := range a.GetRlimits() {
		p.Rlimits = slices.DeleteFunc(slices.Clone(p.Rlimits), func(o specs.POSIXRlimit) bool { return o.Type == r.GetType() })
		p.Rlimits = append(p.Rlimits, specs.POSIXRlimit{Type: r.GetType(), Hard: r.GetHard(), Soft: r.GetSoft()})
	}
}

// adjustMap applies a map in which "-key" removes.
func adjustMap(dst *map[string]string, changes map[string]string) {
	if len(changes) == 0 {
		return
	}
	next := maps.Clone(*dst)
	if next == nil {
		next = map[string]string{}
	}
	for k := range changes {
		if key, removed := api.IsMarkedForRemoval(k); removed {
			delete(next, key)
		}
	}
	for k, v := range changes { // after the removals: one plugin may have replaced what another removed
		if _, removed := api.IsMarkedForRemoval(k); !removed {
			next[k] = v
		}
	}
	*dst = next
}

// adjustMounts keeps parents before their children, as a mount list must be.
func adjustMounts(s *specs.Spec, changes []*api.Mount) error {
	if len(changes) == 0 {
		return nil
	}
	list := slices.Clone(s.Mounts)
	for _, m := range changes {
		dest, removed := m.IsMarkedForRemoval()
		if !path.IsAbs(dest) {
			return fmt.Errorf("mount: destination %q is not absolute: %w", dest, lifecycle.ErrInvalid)
		}
		dest = path.Clean(dest)
		list = slices.DeleteFunc(list, func(o specs.Mount) bool { return path.Clean(o.Destination) == dest })
		if removed {
			continue
		}
		var propagation string
		add := m.ToOCI(&propagation)
		add.Destination = dest
		list = append(list, add)
		switch root := &s.Linux.RootfsPropagation; {
		case propagation == "rshared":
			*root = propagation
		case propagation == "rslave" && *root != "rshared":
			*root = propagation
		}
	}
	slices.SortStableFunc(list, func(x, y specs.Mount) int {
		return cmp.Compare(strings.Count(x.Destination, "/"), strings.Count(y.Destination, "/"))
	})
	s.Mounts = list
	return nil
}

func (n *NRI) adjustLinux(s *specs.Spec, a *api.LinuxContainerAdjustment) error {
	l := s.Linux
	adjustDevices(l, a.GetDevices())
	adjustNamespaces(l, a.GetNamespaces())
	adjustMap(&l.Sysctl, a.GetSysctl())
	adjustNetDevices(l, a.GetNetDevices())
	if p := a.GetCgroupsPath(); p != "" {
		if !path.IsAbs(p) || path.Clean(p) != p || p == "/" {
			return fmt.Errorf("cgroups path %q is no clean absolute path: %w", p, lifecycle.ErrInvalid)
		}
		l.CgroupsPath = p
	}
	if v := a.GetOomScoreAdj(); v != nil {
		score := max(int(v.GetValue()), n.o.OOMScoreMin) // as for a request: clamped, not failed
		s.Process.OOMScoreAdj = &score
	}
	if v := a.GetIoPriority(); v != nil && v.GetClass() != api.IOPrioClass_IOPRIO_CLASS_NONE {
		s.Process.IOPriority = v.ToOCI()
	}
	if v := a.GetScheduler(); v != nil {
		s.Process.Scheduler = v.ToOCI()
	}
	if v := a.GetMemoryPolicy(); v != nil {
		l.MemoryPolicy = v.ToOCI()
	}
	if v := a.GetRdt(); v != nil {
		l.IntelRdt = rdt(v)
	}
	if v := a.GetSeccompPolicy(); v != nil {
		l.Seccomp = seccomp(v)
	}
	r, err := n.resources(a.GetResources())
	if err != nil {
		return err
	}
	if l.Resources == nil {
		l.Resources = &specs.LinuxResources{}
	}
	merge(l.Resources, r)
	return nil
}

// adjustDevices adds the nodes and the right to use them.
func adjustDevices(l *specs.Linux, changes []*api.LinuxDevice) {
	for _, d := range changes {
		key, removed := d.IsMarkedForRemoval()
		l.Devices = slices.DeleteFunc(slices.Clone(l.Devices), func(o specs.LinuxDevice) bool { return o.Path == key })
		if removed {
			continue
		}
		l.Devices = append(l.Devices, d.ToOCI())
		major, minor := d.GetMajor(), d.GetMinor()
		rule := specs.LinuxDeviceCgroup{Allow: true, Type: d.GetType(), Major: &major, Minor: &minor, Access: d.AccessString()}
		if l.Resources == nil {
			l.Resources = &specs.LinuxResources{}
		}
		l.Resources.Devices = append(slices.Clip(l.Resources.Devices), rule)
	}
}

func adjustNamespaces(l *specs.Linux, changes []*api.LinuxNamespace) {
	for _, ns := range changes {
		kind, removed := ns.IsMarkedForRemoval()
		l.Namespaces = slices.DeleteFunc(slices.Clone(l.Namespaces), func(o specs.LinuxNamespace) bool { return string(o.Type) == kind })
		if !removed {
			l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.LinuxNamespaceType(kind), Path: ns.GetPath()})
		}
	}
}

func adjustNetDevices(l *specs.Linux, changes map[string]*api.LinuxNetDevice) {
	for k, d := range changes {
		key, removed := api.IsMarkedForRemoval(k)
		if removed {
			delete(l.NetDevices, key)
			continue
		}
		if l.NetDevices == nil {
			l.NetDevices = map[string]specs.LinuxNetDevice{}
		}
		l.NetDevices[k] = d.ToOCI()
	}
}

func rdt(v *api.LinuxRdt) *specs.LinuxIntelRdt {
	if v.GetRemove() && v.GetClosId() == nil && v.GetSchemata() == nil && v.GetEnableMonitoring() == nil {
		return nil
	}
	return &specs.LinuxIntelRdt{
		ClosID: v.GetClosId().GetValue(), Schemata: v.GetSchemata().GetValue(), EnableMonitoring: v.GetEnableMonitoring().GetValue(),
	}
}

func seccomp(v *api.LinuxSeccomp) *specs.LinuxSeccomp {
	out := &specs.LinuxSeccomp{
		DefaultAction: specs.LinuxSeccompAction(v.GetDefaultAction()),
		ListenerPath:  v.GetListenerPath(), ListenerMetadata: v.GetListenerMetadata(),
		Syscalls: api.ToOCILinuxSyscalls(v.GetSyscalls()),
	}
	if e := v.GetDefaultErrno(); e != nil {
		errno := uint(e.GetValue())
		out.DefaultErrnoRet = &errno
	}
	for _, a := range v.GetArchitectures() {
		out.Architectures = append(out.Architectures, specs.Arch(a))
	}
	for _, f := range v.GetFlags() {
		out.Flags = append(out.Flags, specs.LinuxSeccompFlag(f))
	}
	return out
}
