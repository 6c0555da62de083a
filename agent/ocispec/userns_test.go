package ocispec

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func inUserNamespace() Input {
	in := base()
	maps := []*runtimeapi.IDMapping{{HostId: 100000, Length: 1000}, {HostId: 500000, ContainerId: 1000, Length: 64536}}
	in.Pod.Linux.SecurityContext.NamespaceOptions.UsernsOptions = &runtimeapi.UserNamespace{Uids: maps, Gids: maps}
	in.UserNS = "/run/p0/user"
	in.VolumeDir = "/volumes"
	in.Image.Config.Volumes = map[string]struct{}{"/data": {}}
	in.Config.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/mapped", HostPath: "/h", UidMappings: maps, GidMappings: maps},
		{ContainerPath: "/plain", HostPath: "/h"},
	}
	return in
}

func TestUserNamespace(t *testing.T) {
	in := inUserNamespace()
	out, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	l := out.Spec.Linux
	if !slices.Contains(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/run/p0/user"}) {
		t.Errorf("namespaces %v", l.Namespaces)
	}
	want := []specs.LinuxIDMapping{{HostID: 100000, Size: 1000}, {HostID: 500000, ContainerID: 1000, Size: 64536}}
	if d := cmp.Diff(want, l.UIDMappings) + cmp.Diff(want, l.GIDMappings); d != "" {
		t.Error(d)
	}
	for _, m := range out.Spec.Mounts {
		mapped := m.Destination == "/mapped" || m.Destination == "/data"
		if mapped != slices.Equal(m.UIDMappings, want) || mapped != slices.Equal(m.GIDMappings, want) {
			t.Errorf("%s: %v", m.Destination, m.UIDMappings)
		}
		if m.Destination == "/sys" && m.Type != "sysfs" {
			t.Errorf("/sys is a %s", m.Type)
		}
	}
	in.Pod.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_NODE
	in.security().NamespaceOptions = nil
	if out, err = Build(in); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(out.Spec.Mounts, func(m specs.Mount) bool { return m.Destination == "/sys" })
	if m := out.Spec.Mounts[i]; m.Type != "bind" || !slices.Contains(m.Options, "rro") {
		t.Errorf("/sys beside the node's network: %+v", m)
	}
}

func TestUserNamespaceRefused(t *testing.T) {
	other := []*runtimeapi.IDMapping{{HostId: 7, Length: 1}}
	for name, c := range map[string]struct {
		change func(*Input)
		kind   error
	}{
		"no pin":         {func(in *Input) { in.UserNS = "" }, lifecycle.ErrInvalid},
		"other mappings": {func(in *Input) { in.Config.Mounts[0].UidMappings = other }, lifecycle.ErrUnsupported},
		"one of two":     {func(in *Input) { in.Config.Mounts[0].GidMappings = nil }, lifecycle.ErrUnsupported},
		"the node's": {func(in *Input) {
			in.security().NamespaceOptions.UsernsOptions = &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE}
		}, lifecycle.ErrInvalid},
		"of the container": {func(in *Input) {
			in.security().NamespaceOptions.UsernsOptions = &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_CONTAINER}
		}, lifecycle.ErrInvalid},
		"the node's pids": {func(in *Input) { in.security().NamespaceOptions.Pid = runtimeapi.NamespaceMode_NODE }, lifecycle.ErrInvalid},
	} {
		in := inUserNamespace()
		c.change(&in)
		if _, err := Build(in); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
