package runtime

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/monitor"
	"github.com/slipway-cri/slipway/agent/steps"
	"github.com/slipway-cri/slipway/oci/initconf"
)

// reaperOOMScore is what the field gives a pod's own process: the pod dies with it.
const reaperOOMScore = -998

// pins of a sandbox: kind in /proc/PID/ns, and whether the spec has it new.
type pinned struct {
	kind string
	flag uint64
	want bool
}

func (s *SandboxSpec) pins() []pinned {
	return []pinned{
		{"net", unix.CLONE_NEWNET, s.Network},
		{"ipc", unix.CLONE_NEWIPC, s.IPC},
		{"uts", unix.CLONE_NEWUTS, s.UTS},
		{"user", unix.CLONE_NEWUSER, s.User != nil},
	}
}

func (s *SandboxSpec) pinPath(kind string) string { return filepath.Join(s.PinDir, kind) }

func (s *SandboxSpec) reaperCgroup() string { return path.Join(s.CgroupPath, s.ID) }

// CreateSandbox makes the pod's cgroup, clones its holder into new namespaces and pins
// them; the holder then waits for ReleaseSandbox. A pod that has no namespace of its own
// gets no process (Pid 0). On error nothing is left.
func (r *Runtime) CreateSandbox(ctx context.Context, s SandboxSpec) (_ *Sandbox, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m, err := r.monitor(ctx)
	if err != nil {
		return nil, err
	}
	var undo undoList
	defer func() { err = undo.on(err) }()
	p, err := r.procs.add(&process{id: s.ID, kind: monitor.KindHolder, reaper: s.PID, none: s.cloneFlags() == 0})
	if err != nil {
		return nil, err
	}
	undo.add(func(context.Context) error { r.procs.drop(s.ID); return nil })
	if err := r.sandboxCgroup(s, &undo); err != nil {
		return nil, err
	}
	steps.Lap(ctx, "cgroup")
	if p.none {
		return &Sandbox{}, nil
	}
	q, err := r.holder(s, &undo)
	if err != nil {
		return nil, err
	}
	p.cgroup = q.cgroup
	undo.add(func(ctx context.Context) error { return r.endProcess(ctx, s.ID) })
	if err := r.launch(ctx, m, p, q); err != nil {
		return nil, err
	}
	steps.Lap(ctx, "clone")
	box := &Sandbox{Pid: p.pid}
	for _, n := range s.pins() {
		if !n.want {
			continue
		}
		target := s.pinPath(n.kind)
		undo.add(func(context.Context) error { return r.doors.unpin(target) })
		if err := r.doors.pin(fmt.Sprintf("/proc/%d/ns/%s", p.pid, n.kind), target); err != nil {
			return nil, fmt.Errorf("pin the %s namespace: %w", n.kind, err)
		}
		switch n.kind {
		case "net":
			box.NetNS = target
		case "ipc":
			box.IPCNS = target
		case "uts":
			box.UTSNS = target
		case "user":
			box.UserNS = target
		}
	}
	steps.Lap(ctx, "pin")
	return box, nil
}

func (r *Runtime) sandboxCgroup(s SandboxSpec, undo *undoList) error {
	cg, made, err := r.doors.ensure(s.CgroupPath, s.Resources)
	if err != nil {
		return err
	}
	if made {
		undo.add(func(ctx context.Context) error {
			err := removeCgroup(ctx, cg)
			cg.RemoveParents(r.l.CgroupParent())
			return err
		})
	}
	return nil
}

func (s *SandboxSpec) cloneFlags() (flags uint64) {
	for _, n := range s.pins() {
		if n.want {
			flags |= n.flag
		}
	}
	if s.PID {
		flags |= unix.CLONE_NEWPID
	}
	return flags
}

// holder plans the pod's process, and makes the cgroup of one that stays.
func (r *Runtime) holder(s SandboxSpec, undo *undoList) (*launch, error) {
	c := &initconf.Config{Mode: initconf.ModeHolder, NewSession: true, Hostname: s.Hostname, Sysctls: sysctls(s.Sysctls)}
	q := &launch{config: c, request: monitor.LaunchRequest{ID: s.ID, Kind: monitor.KindHolder, CloneFlags: s.cloneFlags()}}
	if s.User != nil {
		q.request.UIDMap, q.request.GIDMap = idMap(s.User.UIDs), idMap(s.User.GIDs)
	}
	if !s.PID {
		return q, nil
	}
	cg, err := r.doors.create(s.reaperCgroup(), nil)
	if err != nil {
		return nil, err
	}
	undo.add(func(ctx context.Context) error { return removeCgroup(ctx, cg) })
	q.cgroup = cg
	c.Mode = initconf.ModeReaper
	c.OOMScoreAdj, c.HasOOMScoreAdj = max(reaperOOMScore, r.host.OOMScoreMin), true
	return q, nil
}

// sysctls puts dotted names into slash form, in order.
func sysctls(m map[string]string) []initconf.Sysctl {
	out := make([]initconf.Sysctl, 0, len(m))
	for name, value := range m {
		out = append(out, initconf.Sysctl{Path: sysctlPath(name), Value: value})
	}
	slices.SortFunc(out, func(a, b initconf.Sysctl) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// sysctlPath follows sysctl(8): the first separator says which of "." and "/" separates;
// the other is then its counterpart ("net.ipv4.conf.eth0/100.mtu" is the link eth0.100).
func sysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '/' {
		return name
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(name)
}

// ReleaseSandbox lets the holder set hostname and sysctls and end; it answers when it
// has, or when it reaps as the pod's PID 1.
func (r *Runtime) ReleaseSandbox(ctx context.Context, id string) error {
	p := r.procs.get(id)
	if p == nil {
		return fmt.Errorf("sandbox %s: %w", id, lifecycle.ErrNotFound)
	}
	if p.none {
		return nil
	}
	m, err := r.monitor(ctx)
	if err != nil {
		return err
	}
	if err := m.Release(ctx, id); err != nil {
		return launchError(err)
	}
	if p.reaper {
		return nil
	}
	if err := r.await(ctx, p); err != nil {
		return err
	}
	r.procs.drop(id)
	return m.Forget(ctx, id)
}

// AbortSandbox takes back a sandbox that was not released: RemoveSandbox, by the name that
// says so.
func (r *Runtime) AbortSandbox(ctx context.Context, s SandboxSpec) error {
	return r.RemoveSandbox(ctx, s)
}

// RemoveSandbox unpins the namespaces, ends the holder or PID 1 and with the latter what
// is left in the pod's PID namespace, and removes the pod's own cgroup with what it
// holds. It may be repeated, and needs nothing of CreateSandbox's to be there.
func (r *Runtime) RemoveSandbox(ctx context.Context, s SandboxSpec) error {
	var errs []error
	for _, n := range s.pins() {
		if s.PinDir == "" {
			break
		}
		if n.flag == unix.CLONE_NEWUSER && !n.want {
			continue // few pods have one
		}
		if err := r.doors.unpin(s.pinPath(n.kind)); err != nil {
			errs = append(errs, fmt.Errorf("unpin the %s namespace: %w", n.kind, err))
		}
	}
	if err := r.endProcess(ctx, s.ID); err != nil {
		errs = append(errs, fmt.Errorf("end the pod's process: %w", err))
	}
	if s.PID {
		if err := r.removeCgroup(ctx, s.reaperCgroup()); err != nil {
			errs = append(errs, err)
		}
	}
	if s.OwnCgroup {
		if err := r.removeCgroup(ctx, s.CgroupPath); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeCgroup ends what is left in a cgroup of ours and removes it.
func (r *Runtime) removeCgroup(ctx context.Context, path string) error {
	cg, err := r.doors.open(path)
	if err != nil {
		return err
	}
	return removeCgroup(ctx, cg)
}

func removeCgroup(ctx context.Context, cg cgroup) error {
	if cg.RemoveEmpty() {
		return nil
	}
	if err := cg.KillAll(ctx); err != nil {
		return err
	}
	return cg.Destroy(ctx)
}
