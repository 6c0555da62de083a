// Package plan turns an OCI runtime-spec into everything that create does, as data:
// clone flags and joins, id maps, ordered mounts, devices, rlimits, capabilities, the
// seccomp program. It touches nothing: the same spec and options give the same plan on
// any machine, and String prints it for golden tests and people. Validation is oci/spec's
// job, carrying out is oci/container's and oci/initproc's.
package plan

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/seccomp"
	"github.com/slipway-cri/slipway/oci/spec"
)

// Options are what a plan needs to know beside the spec.
type Options struct {
	// Rootfs replaces spec.Root.Path where the root is an overlay; its Readonly,
	// Propagation and Label are set from the spec.
	Rootfs *initconf.Root
	// Layers says by destination which mounts of type "overlay" are of layers that the spec
	// cannot hold: hundreds of names do not fit into options.
	Layers map[string]Layers
	// Bundle is the absolute directory that a relative root.path and relative sources of
	// binds are under; "" makes such paths an error.
	Bundle string
	// LastCap is the highest capability of the kernel, 0 for "not probed: all known";
	// AllowedCaps the bounding set of the runtime: capabilities outside are left out, as
	// "all" means all one has.
	LastCap     int
	AllowedCaps uint64
	// CgroupV2 is true on a pure v2 machine. No part of a plan depends on it so far: init
	// looks at the machine where a mount is a CgroupView.
	CgroupV2 bool
	// Arch is a GOARCH, for the native architecture of seccomp filters; "" = this one.
	Arch string
	// Seccomp keeps compiled filters; nil compiles each time.
	Seccomp *seccomp.Cache
	// KeepKeyring leaves the process in its parent's session keyring.
	KeepKeyring bool
	// Features of the kernel that change the plan.
	Features Features
}

// Layers are an overlay's lower directories (initconf.Mount.Layers).
type Layers struct {
	Base    string
	Names   []string
	SubPath string
}

// Features are probed once by oci/kernel and passed in, so that fallbacks are testable.
type Features struct {
	MountSetattr   bool // 5.12: recursive read-only
	CgroupNS       bool
	SeccompActions []string // /proc/sys/kernel/seccomp/actions_avail; nil = all
}

// Plan is create as data.
type Plan struct {
	CloneFlags uintptr // CLONE_NEW* made by the clone
	UIDMap     []syscall.SysProcIDMap
	GIDMap     []syscall.SysProcIDMap
	// JoinPID is the path of the PID namespace to be born in, "" for none (it cannot be
	// joined by the process itself). Other joins are in Init.Joins.
	JoinPID string
	// JoinUser is the path of the user namespace to be born in, "" for none; ParentJoins are
	// then the namespaces that are joined on the way, with the rights of before.
	JoinUser    string
	ParentJoins []initconf.Join
	// TargetUser (Exec) says that the container is in a user namespace, which the process must
	// be born in.
	TargetUser bool
	// TargetPID (Exec) says that the container has a PID namespace of its own or of its
	// pod: the process must be born in it, through /proc/PID/ns/pid of the target.
	TargetPID bool
	// Cgroup is spec.Linux.CgroupsPath; Resources are applied by oci/cgroups.
	Cgroup    string
	Resources *specs.LinuxResources
	// Init is the child's half. Init.Cgroups (v1 tasks files) is left to the caller, who
	// makes the cgroups.
	Init initconf.Config
}

// Make plans the create of s, which spec.Validate has passed. Errors name the spec's
// field and wrap spec.ErrInvalid or spec.ErrUnsupported. The plan shares slices and
// the resources with s and the program with o.Seccomp: none may be changed.
func Make(s *specs.Spec, o Options) (*Plan, error) {
	if s.Process == nil || s.Root == nil {
		return nil, fmt.Errorf("process, root: missing: %w", spec.ErrInvalid)
	}
	l := s.Linux
	if l == nil {
		l = &specs.Linux{}
	}
	p := &Plan{Cgroup: l.CgroupsPath, Resources: l.Resources}
	c := &p.Init
	c.Mode = initconf.ModeContainer
	if err := p.namespaces(l, o); err != nil {
		return nil, err
	}
	if p.CloneFlags&syscall.CLONE_NEWUTS != 0 {
		c.Hostname, c.Domainname = s.Hostname, s.Domainname
	}
	c.Sysctls = sysctls(l.Sysctl)
	if err := root(&c.Root, s, l, o); err != nil {
		return nil, err
	}
	if err := p.mappings(s.Mounts, l); err != nil {
		return nil, err
	}
	if err := mounts(c, s.Mounts, l.MountLabel, o); err != nil {
		return nil, err
	}
	if err := devices(c, l.Devices); err != nil {
		return nil, err
	}
	c.MaskedPaths, c.ReadonlyPaths = l.MaskedPaths, l.ReadonlyPaths
	if err := process(c, s.Process, "process", o); err != nil {
		return nil, err
	}
	if err := filter(c, l.Seccomp, o); err != nil {
		return nil, err
	}
	return p, nil
}

// Exec plans process p inside the running container that s describes: everything of p
// and no mounts. The process joins all of the container's namespaces through its pidfd
// (Init.TargetFlags) but two: it is born in the PID namespace (TargetPID), and a user
// namespace is entered by whoever forks it. What p leaves open is the container's:
// capabilities, rlimits, LSM labels, umask, oom_score_adj; no_new_privs stays on once
// the container has it; the seccomp filter is the container's.
func Exec(s *specs.Spec, p *specs.Process, o Options) (*Plan, error) {
	if p == nil {
		return nil, fmt.Errorf("process: missing: %w", spec.ErrInvalid)
	}
	l := s.Linux
	if l == nil {
		l = &specs.Linux{}
	}
	out := &Plan{Cgroup: l.CgroupsPath}
	c := &out.Init
	c.Mode = initconf.ModeExec
	for i, n := range l.Namespaces {
		flag, ok := nsFlags[n.Type]
		if !ok {
			return nil, fmt.Errorf("linux.namespaces[%d].type: %q: %w", i, n.Type, spec.ErrUnsupported)
		}
		switch flag {
		case syscall.CLONE_NEWPID:
			out.TargetPID = true
		case syscall.CLONE_NEWUSER:
			out.TargetUser = true
		default:
			c.TargetFlags |= flag
		}
	}
	q := inherit(p, s.Process)
	if err := process(c, &q, "process", o); err != nil {
		return nil, err
	}
	if err := filter(c, l.Seccomp, o); err != nil {
		return nil, err
	}
	return out, nil
}

// inherit fills what an exec leaves open from the container's process.
func inherit(p, from *specs.Process) specs.Process {
	q := *p
	if from == nil {
		return q
	}
	if q.Capabilities == nil {
		q.Capabilities = from.Capabilities
	}
	if q.Rlimits == nil {
		q.Rlimits = from.Rlimits
	}
	if q.ApparmorProfile == "" {
		q.ApparmorProfile = from.ApparmorProfile
	}
	if q.SelinuxLabel == "" {
		q.SelinuxLabel = from.SelinuxLabel
	}
	if q.OOMScoreAdj == nil {
		q.OOMScoreAdj = from.OOMScoreAdj
	}
	if q.User.Umask == nil {
		q.User.Umask = from.User.Umask
	}
	q.NoNewPrivileges = q.NoNewPrivileges || from.NoNewPrivileges
	return q
}

func filter(c *initconf.Config, s *specs.LinuxSeccomp, o Options) (err error) {
	if s == nil {
		return nil
	}
	if err := seccomp.CheckActions(s, o.Features.SeccompActions); err != nil {
		return fmt.Errorf("linux.seccomp.%w", err)
	}
	c.Seccomp, c.SeccompFlags, err = o.Seccomp.Compile(s, o.Arch)
	if err != nil {
		return fmt.Errorf("linux.seccomp.%w", err)
	}
	return nil
}

// absolute resolves a path of the spec against the bundle.
func absolute(path, bundle string) (string, error) {
	switch {
	case filepath.IsAbs(path):
		return filepath.Clean(path), nil
	case path == "":
		return "", errors.New("empty path")
	case bundle == "":
		return "", fmt.Errorf("relative path %q without a bundle", path)
	}
	return filepath.Join(bundle, path), nil
}
