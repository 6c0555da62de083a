package agent

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/cdi"
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
		AppArmorLoaded: runtime.AppArmorLoaded,
		Devices:        devices, Device: runtime.Device,
		Seccomp: seccompProfiles(c.Seccomp.DefaultProfile),
		CDI:     cdiDevices(c.CDI.SpecDirs),
	}, nil
}

// handlerHosts are host as each runtime handler changes it.
func handlerHosts(host ocispec.Host, c config.Config) map[string]ocispec.Host {
	hosts := map[string]ocispec.Host{}
	for _, name := range c.Runtime.HandlerNames() {
		h, own := host, c.Runtime.Handlers[name] // the zero Handler changes nothing
		h.NoHostDevices = own.PrivilegedWithoutHostDevices
		if own.SeccompProfile != "" {
			h.Seccomp = seccompProfiles(own.SeccompProfile)
		}
		if own.AppArmorProfile != "" {
			h.AppArmorDefault = own.AppArmorProfile
		}
		hosts[name] = h
	}
	return hosts
}

// seccompProfiles finds profiles for requests; byDefault is the file behind RuntimeDefault, "" for the
// built-in one.
func seccompProfiles(byDefault string) func(*specs.Spec, runtimeapi.SecurityProfile_ProfileType, string) (*specs.LinuxSeccomp, error) {
	return func(s *specs.Spec, kind runtimeapi.SecurityProfile_ProfileType, ref string) (*specs.LinuxSeccomp, error) {
		switch kind {
		case runtimeapi.SecurityProfile_Unconfined:
			return nil, nil
		case runtimeapi.SecurityProfile_RuntimeDefault:
			return runtime.DefaultProfile(byDefault, s)
		case runtimeapi.SecurityProfile_Localhost:
			return runtime.FileProfile(ref, s)
		}
		return nil, fmt.Errorf("seccomp profile type %d: %w", kind, lifecycle.ErrInvalid)
	}
}

// cdiDevices applies devices that have names; nil where there are no directories for them.
func cdiDevices(dirs []string) func(*specs.Spec, []string, map[string]string) error {
	if len(dirs) == 0 {
		return nil
	}
	in := cdi.Injector{Dirs: dirs}
	return func(s *specs.Spec, devices []string, annotations map[string]string) error {
		names, err := cdi.Names(devices, annotations)
		if err != nil {
			return err
		}
		return in.Apply(s, names)
	}
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
