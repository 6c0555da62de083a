package ocispec

import (
	"errors"
	"slices"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func TestSELinux(t *testing.T) {
	type options = runtimeapi.SELinuxOption
	full := &options{User: "u", Role: "r", Type: "t", Level: "s0:c1,c2"}
	for name, tc := range map[string]struct {
		pod, container *options
		kernel, priv   bool
		process, mount string
	}{
		"no kernel":        {nil, full, false, false, "", ""},
		"nothing asked":    {nil, nil, true, false, "", ""},
		"all of it":        {nil, full, true, false, "u:r:t:s0:c1,c2", "u:object_r:container_file_t:s0:c1,c2"},
		"the pod's":        {full, nil, true, false, "u:r:t:s0:c1,c2", "u:object_r:container_file_t:s0:c1,c2"},
		"the container's":  {&options{Level: "s0:c9"}, &options{Level: "s0:c1"}, true, false, "system_u:system_r:container_t:s0:c1", "system_u:object_r:container_file_t:s0:c1"},
		"not privileged's": {nil, full, true, true, "", ""},
	} {
		in := base()
		in.Host.SELinux = tc.kernel
		in.security().SelinuxOptions, in.security().Privileged = tc.container, tc.priv
		in.Pod.Linux = &runtimeapi.LinuxPodSandboxConfig{
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{SelinuxOptions: tc.pod, Privileged: tc.priv},
		}
		in.Config.Mounts = []*runtimeapi.Mount{
			{ContainerPath: "/mine", HostPath: "/host/mine", SelinuxRelabel: true}, {ContainerPath: "/shared", HostPath: "/host/shared"},
		}
		out, err := Build(in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if p, m := out.Spec.Process.SelinuxLabel, out.Spec.Linux.MountLabel; p != tc.process || m != tc.mount {
			t.Errorf("%s: process %q, mounts %q", name, p, m)
		}
		var relabel []string
		if tc.kernel {
			relabel = []string{"/host/mine"}
		}
		if !slices.Equal(out.Relabel, relabel) {
			t.Errorf("%s: relabel %q", name, out.Relabel)
		}
	}
	for _, bad := range []*options{{User: "a:b"}, {Role: "a b"}, {Type: "a/b"}, {Level: "s0 x"}} {
		in := base()
		in.Host.SELinux = true
		in.security().SelinuxOptions = bad
		if _, err := Build(in); !errors.Is(err, lifecycle.ErrInvalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
