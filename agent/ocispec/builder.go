package ocispec

import (
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// builder carries one Build through its steps.
type builder struct {
	in         Input
	image      ocispec.ImageConfig
	security   *runtimeapi.LinuxContainerSecurityContext // getters work on nil
	privileged bool

	maps *IDMaps // of the pod's user namespace, nil for the node's
	home string  // of the user, from the image's passwd
	spec *specs.Spec
	out  *Output
}

func newBuilder(in Input) (*builder, error) {
	if in.Config == nil {
		return nil, invalid("config", "is missing")
	}
	if in.Pod == nil {
		return nil, invalid("sandbox_config", "is missing")
	}
	b := &builder{in: in, security: in.Config.GetLinux().GetSecurityContext()}
	if in.Image != nil {
		b.image = in.Image.Config
	}
	b.privileged = b.security.GetPrivileged()
	if b.privileged && !in.Pod.GetLinux().GetSecurityContext().GetPrivileged() {
		return nil, invalid("linux.security_context.privileged", "the pod sandbox is not privileged")
	}
	b.spec = &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs", Readonly: b.security.GetReadonlyRootfs()},
		Process: &specs.Process{
			NoNewPrivileges: b.security.GetNoNewPrivs(),
			Rlimits:         in.Rlimits,
		},
		Linux: &specs.Linux{CgroupsPath: in.CgroupPath, Resources: &specs.LinuxResources{}},
	}
	b.out = &Output{Spec: b.spec}
	return b, nil
}

func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", field, fmt.Sprintf(format, args...), lifecycle.ErrInvalid)
}

func unsupported(field, what string) error {
	return fmt.Errorf("%s: %s: %w", field, what, lifecycle.ErrUnsupported)
}

// hasControl tells of bytes that must not reach a line-based file or a C string.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}
