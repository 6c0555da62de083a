package ocispec

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Without a configuration of classes a container that asks for one is refused, as in other runtimes.
func TestClassesAreRefused(t *testing.T) {
	for _, tc := range []struct {
		container, pod map[string]string
		key            string // of the annotation that is at fault; "" = accepted
	}{
		{nil, nil, ""},
		{map[string]string{"io.kubernetes.cri.blockio-class": "fast"}, nil, "io.kubernetes.cri.blockio-class"},
		{map[string]string{"io.kubernetes.cri.rdt-class": "gold"}, nil, "io.kubernetes.cri.rdt-class"},
		{nil, map[string]string{"blockio.resources.beta.kubernetes.io/pod": "slow"}, "blockio.resources.beta.kubernetes.io/pod"},
		{nil, map[string]string{"rdt.resources.beta.kubernetes.io/container.main": "gold"}, "rdt.resources.beta.kubernetes.io/container.main"},
		{nil, map[string]string{"rdt.resources.beta.kubernetes.io/container.other": "gold"}, ""},
		{nil, map[string]string{"blockio.resources.beta.kubernetes.io/pod": "slow", "blockio.resources.beta.kubernetes.io/container.main": ""}, ""},
		{map[string]string{"io.kubernetes.cri.rdt-class": ""}, map[string]string{"rdt.resources.beta.kubernetes.io/pod": "gold"}, ""},
	} {
		in := base()
		in.Config.Metadata = &runtimeapi.ContainerMetadata{Name: "main"}
		in.Config.Annotations, in.Pod.Annotations = tc.container, tc.pod
		_, err := Build(in)
		switch {
		case tc.key == "" && err != nil:
			t.Errorf("%v %v: %v", tc.container, tc.pod, err)
		case tc.key != "" && (!errors.Is(err, lifecycle.ErrInvalid) || !strings.Contains(err.Error(), tc.key)):
			t.Errorf("%v %v: %v", tc.container, tc.pod, err)
		}
	}
}

func TestCDI(t *testing.T) {
	in := base()
	in.Config.CDIDevices = []*runtimeapi.CDIDevice{{Name: "vendor.com/net=eth0"}}
	if _, err := Build(in); !errors.Is(err, lifecycle.ErrUnsupported) {
		t.Errorf("without CDI: %v", err)
	}
	in.Config.Annotations = map[string]string{"cdi.k8s.io/x": "vendor.com/net=eth1"}
	in.Host.CDI = func(s *specs.Spec, devices []string, annotations map[string]string) error {
		if len(devices) != 1 || devices[0] != "vendor.com/net=eth0" || annotations["cdi.k8s.io/x"] == "" {
			t.Errorf("asked for %q, %v", devices, annotations)
		}
		if len(s.Mounts) == 0 || s.Linux.Resources == nil || s.Process.User.AdditionalGids == nil {
			t.Error("the spec is not whole when devices are applied")
		}
		s.Process.User.AdditionalGids = append(s.Process.User.AdditionalGids, 44)
		return nil
	}
	out, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	if g := out.User.Linux.SupplementalGroups; g[len(g)-1] != 44 {
		t.Errorf("status has groups %v", g)
	}
}

// A profile that the kernel does not have is an error, never a container without one.
func TestAppArmorProfileMustBeLoaded(t *testing.T) {
	local := func(ref string) *runtimeapi.SecurityProfile {
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: ref}
	}
	byDefault := &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	unreadable := errors.New("unreadable")
	for _, tc := range []struct {
		what     string
		profile  *runtimeapi.SecurityProfile
		fallback string
		want     string
		err      error
	}{
		{"loaded", local("mine"), "", "mine", nil},
		{"not loaded", local("gone"), "", "", lifecycle.ErrInvalid},
		{"default", byDefault, "mine", "mine", nil},
		{"default not loaded", byDefault, "gone", "", lifecycle.ErrInvalid},
		{"unset, default not loaded", nil, "gone", "", lifecycle.ErrInvalid},
		{"no default, asked for", byDefault, "", "", lifecycle.ErrInvalid},
		{"no default, unset", nil, "", "", nil},
		{"list unreadable", local("broken"), "", "", unreadable},
	} {
		in := base()
		in.Host.AppArmor, in.Host.AppArmorDefault = true, tc.fallback
		in.Host.AppArmorLoaded = func(name string) (bool, error) {
			if name == "broken" {
				return false, unreadable
			}
			return name == "mine", nil
		}
		in.security().Apparmor = tc.profile
		out, err := Build(in)
		if !errors.Is(err, tc.err) || (err != nil) != (tc.err != nil) {
			t.Errorf("%s: %v", tc.what, err)
			continue
		}
		if err == nil && out.Spec.Process.ApparmorProfile != tc.want {
			t.Errorf("%s: %q", tc.what, out.Spec.Process.ApparmorProfile)
		}
		if err != nil && !strings.Contains(err.Error(), "linux.security_context.apparmor") {
			t.Errorf("%s: %v names no field", tc.what, err)
		}
	}
}
