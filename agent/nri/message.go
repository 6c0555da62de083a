package nri

import (
	"maps"
	"strings"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/ocispec"
	"github.com/slipway-cri/slipway/agent/pods"
)

// podMessage is a pod as plugins see it.
func podMessage(v *pods.Pod) *adaptation.PodSandbox {
	m, linux := v.Config.GetMetadata(), v.Config.GetLinux()
	p := &adaptation.PodSandbox{
		Id: v.ID, Name: m.GetName(), Uid: m.GetUid(), Namespace: m.GetNamespace(),
		Labels: v.Config.GetLabels(), Annotations: v.Config.GetAnnotations(),
		RuntimeHandler: v.RuntimeHandler, Pid: uint32(v.PID),
		Linux: &api.LinuxPodSandbox{
			PodOverhead: limits(linux.GetOverhead()), PodResources: limits(linux.GetResources()),
			CgroupParent: linux.GetCgroupParent(), CgroupsPath: v.CgroupPath,
		},
	}
	for _, a := range v.Addrs() {
		p.Ips = append(p.Ips, a.String())
	}
	for kind, path := range map[specs.LinuxNamespaceType]string{
		specs.NetworkNamespace: v.NetNS, specs.IPCNamespace: v.IPCNS, specs.UTSNamespace: v.UTSNS,
	} {
		if path != "" {
			p.Linux.Namespaces = append(p.Linux.Namespaces, &api.LinuxNamespace{Type: string(kind), Path: path})
		}
	}
	return p
}

// limits maps a request's limits, which are known to be right: the pod or container is there.
func limits(r *runtimeapi.LinuxContainerResources) *api.LinuxResources {
	if r == nil {
		return nil
	}
	out, err := ocispec.Resources(r, ocispec.Host{CgroupV2: true})
	if err != nil {
		return nil
	}
	return api.FromOCILinuxResources(out, nil)
}

// containerMessage is a container as plugins see it; s may be nil.
func containerMessage(v *containers.Container, s *specs.Spec) *adaptation.Container {
	c := &adaptation.Container{
		Id: v.ID, PodSandboxId: v.PodID, Name: v.Config.GetMetadata().GetName(), State: state(v.State),
		Labels: maps.Clone(v.Config.GetLabels()), Annotations: maps.Clone(v.Config.GetAnnotations()), // plugins' changes go into the message
		Pid: uint32(v.Pid), CreatedAt: v.CreatedAt.UnixNano(), ExitCode: int32(v.ExitCode),
		StatusReason: v.Reason, StatusMessage: v.Message, Image: image(v),
		Linux: &api.LinuxContainer{CgroupsPath: v.CgroupPath, SeccompProfile: seccompProfile(v)},
	}
	if !v.StartedAt.IsZero() {
		c.StartedAt = v.StartedAt.UnixNano()
	}
	if !v.FinishedAt.IsZero() {
		c.FinishedAt = v.FinishedAt.UnixNano()
	}
	for _, d := range v.Config.GetCDIDevices() {
		c.CDIDevices = append(c.CDIDevices, &api.CDIDevice{Name: d.GetName()})
	}
	if s != nil {
		fromSpec(c, s)
	}
	// The spec is that of the creation; the configuration has what was updated since.
	if r, err := ocispec.Resources(v.Config.GetLinux().GetResources(), ocispec.Host{CgroupV2: true}); err == nil && s != nil && s.Linux != nil {
		sum := *s.Linux.Resources
		merge(&sum, r)
		c.Linux.Resources = api.FromOCILinuxResources(&sum, nil)
	}
	return c
}

// fromSpec fills in what the runtime-spec has.
func fromSpec(c *adaptation.Container, s *specs.Spec) {
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	maps.Copy(c.Annotations, s.Annotations)
	c.Mounts, c.Hooks = api.FromOCIMounts(s.Mounts), api.FromOCIHooks(s.Hooks)
	if p := s.Process; p != nil {
		c.Args, c.Env = api.DupStringSlice(p.Args), api.DupStringSlice(p.Env)
		c.User = &api.User{Uid: p.User.UID, Gid: p.User.GID, AdditionalGids: p.User.AdditionalGids}
		c.Linux.OomScoreAdj = api.Int(p.OOMScoreAdj)
		for _, r := range p.Rlimits {
			c.Rlimits = append(c.Rlimits, &api.POSIXRlimit{Type: r.Type, Hard: r.Hard, Soft: r.Soft})
		}
	}
	l := s.Linux
	if l == nil {
		return
	}
	if l.Resources == nil {
		l.Resources = &specs.LinuxResources{}
	}
	c.Linux.Namespaces, c.Linux.Devices = api.FromOCILinuxNamespaces(l.Namespaces), api.FromOCILinuxDevices(l.Devices)
	c.Linux.CgroupsPath, c.Linux.Sysctl = l.CgroupsPath, api.DupStringMap(l.Sysctl)
	c.Linux.Resources = api.FromOCILinuxResources(l.Resources, nil)
	if l.Seccomp != nil {
		c.Linux.SeccompPolicy = api.FromOCILinuxSeccomp(l.Seccomp)
	}
}

func state(s lifecycle.ContainerState) api.ContainerState {
	switch s {
	case lifecycle.ContainerCreating, lifecycle.ContainerCreated, lifecycle.ContainerStarting:
		return api.ContainerState_CONTAINER_CREATED
	case lifecycle.ContainerRunning:
		return api.ContainerState_CONTAINER_RUNNING
	case lifecycle.ContainerExited, lifecycle.ContainerRemoving:
		return api.ContainerState_CONTAINER_STOPPED
	}
	return api.ContainerState_CONTAINER_UNKNOWN
}

func image(v *containers.Container) *api.Image {
	i := v.Config.GetImage()
	name := i.GetUserSpecifiedImage()
	if name == "" {
		name = i.GetImage()
	}
	_, digest, _ := strings.Cut(v.ImageRef, "@")
	return &api.Image{Name: name, Digest: digest, ConfigDigest: v.ImageID}
}

func seccompProfile(v *containers.Container) *api.SecurityProfile {
	p := v.Config.GetLinux().GetSecurityContext().GetSeccomp()
	if p == nil {
		return nil
	}
	kind := map[runtimeapi.SecurityProfile_ProfileType]api.SecurityProfile_ProfileType{
		runtimeapi.SecurityProfile_RuntimeDefault: api.SecurityProfile_RUNTIME_DEFAULT,
		runtimeapi.SecurityProfile_Unconfined:     api.SecurityProfile_UNCONFINED,
		runtimeapi.SecurityProfile_Localhost:      api.SecurityProfile_LOCALHOST,
	}[p.GetProfileType()]
	return &api.SecurityProfile{ProfileType: kind, LocalhostRef: p.GetLocalhostRef()}
}
