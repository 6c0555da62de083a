// Package plan turns an OCI runtime-spec into everything that create does, as data:
// clone flags and joins, id maps, ordered mounts, cgroup writes, devices, rlimits,
// capabilities, the seccomp program. It touches nothing: the same spec and options
// give the same plan on any machine, and String prints it for golden tests and people.
package plan

import (
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/oci/initconf"
)

// Options are what a plan needs to know beside the spec.
type Options struct {
	// Rootfs replaces spec.Root.Path where the root is an overlay; its Readonly,
	// Propagation and Label are set from the spec.
	Rootfs *initconf.Root
	// LastCap is the highest capability of the kernel; AllowedCaps the bounding set of
	// the runtime: capabilities outside are left out, as "all" means all one has.
	LastCap     int
	AllowedCaps uint64
	// CgroupV2 is true on a pure v2 machine.
	CgroupV2 bool
	// Arch is a GOARCH, for the native architecture of seccomp filters; "" = this one.
	Arch string
	// Features of the kernel that change the plan.
	Features Features
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
	// Cgroup is spec.Linux.CgroupsPath; Resources are applied by oci/cgroups.
	Cgroup    string
	Resources *specs.LinuxResources
	Init      initconf.Config
}

// Make validates nothing (oci/spec has) and plans. Errors name the spec's field.
//
//	func Make(s *specs.Spec, o Options) (*Plan, error)
//
// Exec plans a process inside a running container: everything of p, no mounts.
//
//	func Exec(s *specs.Spec, p *specs.Process, o Options) (*Plan, error)
