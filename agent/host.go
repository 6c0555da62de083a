package agent

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/config"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/ocispec"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// hostFacts are what the machine and the operator allow, as the mapping of requests wants them.
func hostFacts(h runtime.Host, c config.Config) (ocispec.Host, error) {
	devices, err := runtime.HostDevices()
	if err != nil {
		return ocispec.Host{}, fmt.Errorf("list the node's devices: %w", err)
	}
	return ocispec.Host{
		BoundingCaps: h.BoundingCaps, CgroupV2: h.CgroupV2, OOMScoreMin: h.OOMScoreMin,
		Swap:     swapAccounted(h),
		AppArmor: h.AppArmor, AppArmorDefault: c.AppArmor.DefaultProfile, SELinux: h.SELinux,
		Devices: devices, Device: runtime.Device,
		Seccomp: func(s *specs.Spec, kind runtimeapi.SecurityProfile_ProfileType, ref string) (*specs.LinuxSeccomp, error) {
			switch kind {
			case runtimeapi.SecurityProfile_Unconfined:
				return nil, nil
			case runtimeapi.SecurityProfile_RuntimeDefault:
				return runtime.DefaultProfile(c.Seccomp.DefaultProfile, s)
			case runtimeapi.SecurityProfile_Localhost:
				return runtime.FileProfile(ref, s)
			}
			return nil, fmt.Errorf("seccomp profile type %d: %w", kind, lifecycle.ErrInvalid)
		},
	}, nil
}

// swapAccounted says whether the kernel counts swap: the file is there only then.
func swapAccounted(h runtime.Host) bool {
	if h.CgroupV2 {
		_, err := os.Stat("/proc/swaps") // memory.swap.max is in every group but the root where swap is built in
		return err == nil
	}
	_, err := os.Stat("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
	return err == nil
}
