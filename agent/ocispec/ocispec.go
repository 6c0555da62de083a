// Package ocispec maps a CRI container config and an image config onto an OCI
// runtime-spec. It is pure: everything of the machine that matters comes in through Input.
package ocispec

import (
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Input is all that Build looks at.
type Input struct {
	ID, PodID string
	Pod       *runtimeapi.PodSandboxConfig
	Config    *runtimeapi.ContainerConfig
	Image     *ocispec.Image
	// Passwd and Group are the image's files, nil where it has none.
	Passwd, Group []byte

	// Namespaces to join, by path; "" makes the container's own or uses the node's,
	// as the pod's and container's NamespaceOption say.
	NetNS, IPCNS, UTSNS string
	PIDNS               string // pod's or target's /proc/…/ns/pid
	CgroupPath          string // of this container

	// Files of the pod, bind-mounted unless the config mounts something there; "" = none.
	ResolvConf, Hosts, Hostname, ShmDir string

	Host Host
}

// Host is what the machine allows.
type Host struct {
	BoundingCaps []string // "CAP_…" that the agent may hand out
	CgroupV2     bool
	OOMScoreMin  int  // the lowest oom_score_adj that may be set; -1000 with CAP_SYS_RESOURCE
	AppArmor     bool // enabled in the kernel
	SELinux      bool
	Devices      []specs.LinuxDevice // the host's devices, for privileged containers
	// Seccomp resolves a profile: nil spec = unconfined. Kind is runtimeapi's; ref the
	// localhost profile's path. Set by the agent, which caches compiled profiles.
	Seccomp func(s *specs.Spec, kind runtimeapi.SecurityProfile_ProfileType, ref string) (*specs.LinuxSeccomp, error)
}

// Output is the spec and what status reports of it.
type Output struct {
	Spec       *specs.Spec
	User       *runtimeapi.ContainerUser
	StopSignal string
}

//	func Build(in Input) (*Output, error)  // errors wrap lifecycle.ErrInvalid and name the CRI field
//
// Exec derives the process of an exec from the container's spec:
//
//	func Exec(s *specs.Spec, cmd []string, tty bool) *specs.Process
