// Package ocispec maps a CRI container config and an image config onto an OCI
// runtime-spec. It is pure: everything of the machine that matters comes in through
// Input, so the same input gives the same spec on any machine. It makes no directory, looks at no
// host path and knows no pod's life; image values are untrusted, the request is policy.
// It has no state and no locks.
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
	UserNS              string // the pod's, "" for the node's
	PIDNS               string // pod's or target's /proc/…/ns/pid
	CgroupPath          string // of this container

	// Files of the pod, bind-mounted unless the config mounts something there; "" = none.
	ResolvConf, Hosts, Hostname, ShmDir string

	// ImageVolumes are the ids of the images of Config.Mounts that mount one, by index; shorter is allowed.
	ImageVolumes []string

	// VolumeDir is the host directory whose children "0", "1", … back Output.Volumes, made by the
	// caller. "" mounts nothing there: the volumes then live in the writable layer.
	VolumeDir string
	// Rlimits are given to the process as they are; CRI has no field for them.
	Rlimits []specs.POSIXRlimit

	Host Host
}

// Host is what the machine allows.
type Host struct {
	BoundingCaps []string // "CAP_…" that the agent may hand out; nil = no restriction known
	CgroupV2     bool
	Swap         bool // swap is accounted: memory.memsw.* or memory.swap.max are there
	OOMScoreMin  int  // the lowest oom_score_adj that may be set; -1000 with CAP_SYS_RESOURCE
	AppArmor     bool // enabled in the kernel
	// AppArmorDefault is the name of the loaded profile behind RuntimeDefault, "" for none.
	AppArmorDefault string
	// AppArmorLoaded says whether the kernel has a profile of this name; nil = not known.
	AppArmorLoaded func(name string) (bool, error)
	SELinux        bool
	Devices        []specs.LinuxDevice // the host's devices, for privileged containers
	// Device resolves a device of the request: of a node or a link to one, that one; of a
	// directory, all nodes in it, with paths below hostPath.
	Device func(hostPath string) ([]specs.LinuxDevice, error)
	// CDI applies the devices of the request's names and annotations; nil refuses the names.
	CDI func(s *specs.Spec, devices []string, annotations map[string]string) error
	// NoHostDevices: a privileged container does not get Devices (of the runtime handler).
	NoHostDevices bool
	// Seccomp resolves a profile: nil spec = unconfined. Kind is runtimeapi's; ref the
	// localhost profile's path. Set by the agent, which caches compiled profiles.
	Seccomp func(s *specs.Spec, kind runtimeapi.SecurityProfile_ProfileType, ref string) (*specs.LinuxSeccomp, error)
}

// Output is the spec and what status reports of it.
type Output struct {
	Spec *specs.Spec
	User *runtimeapi.ContainerUser
	// StopSignal is normalised ("SIGTERM", "SIGRTMIN+3"); Signal turns it into a number.
	StopSignal string
	// Volumes are the image's volumes that are not mounted over, cleaned, sorted.
	// Volume i is backed by VolumeDir/i, an empty directory that the caller makes.
	Volumes []string
	// ImageVolumes are the mounts of Spec (type "overlay") whose content is an image's.
	ImageVolumes []ImageVolume
	// Relabel are host paths whose files the caller gives the SELinux label Spec.Linux.MountLabel.
	Relabel []string
}

// ImageVolume is a mount of an image's file system, or of what SubPath names inside it.
type ImageVolume struct{ Destination, Image, SubPath string }

// Build maps in onto a spec. Errors wrap lifecycle.ErrInvalid or lifecycle.ErrUnsupported
// and name the CRI field; those of Host's functions are passed on wrapped.
func Build(in Input) (*Output, error) {
	b, err := newBuilder(in)
	if err != nil {
		return nil, err
	}
	// The order matters twice: HOME needs the user, a seccomp profile needs the capabilities.
	for _, step := range []func() error{
		b.namespaces, b.user, b.process, b.capabilities, b.paths,
		b.mounts, b.devices, b.resources, b.classes, b.cdi, b.seccomp, b.appArmor, b.seLinux,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	b.spec.Annotations = annotations(in)
	b.out.StopSignal = stopSignal(in.Config.GetStopSignal(), b.image.StopSignal)
	return b.out, nil
}
