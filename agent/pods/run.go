package pods

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/ocispec"
	"github.com/slipway-cri/slipway/agent/runtime"
	"github.com/slipway-cri/slipway/agent/steps"
)

// Run starts a pod sandbox, or joins a start of the same pod that is under way, or finds the one that
// an earlier call with the same request made. A start that fails leaves nothing.
func (p *Pods) Run(ctx context.Context, cfg *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	if err := ocispec.CheckUserNamespace(namespaces(cfg)); err != nil {
		return "", fmt.Errorf("config.%w", err)
	}
	if err := p.check(cfg); err != nil {
		return "", err
	}
	same := func(old *Pod) bool {
		return old.State == lifecycle.PodReady && old.RuntimeHandler == handler && proto.Equal(old.Config, cfg)
	}
	return p.inv.Make(ctx, Key(cfg), same, func(ctx context.Context, e *inventory.Entry[Pod]) error {
		release, err := e.Acquire(ctx)
		if err != nil {
			return err
		}
		defer release()
		times, err := steps.Run(ctx, p.runSteps(e, cfg, handler))
		if err != nil {
			return fmt.Errorf("run pod %s/%s: %w", cfg.GetMetadata().GetNamespace(), cfg.GetMetadata().GetName(), err)
		}
		err = e.Set(func(v *Pod) error {
			v.State, err = lifecycle.NextPod(v.State, lifecycle.PodSetUp)
			v.Timeline = times
			return err
		})
		if err != nil {
			return errors.Join(err, p.undo(ctx, e))
		}
		return nil
	})
}

// check judges what only the agent can, before anything is made.
func (p *Pods) check(cfg *runtimeapi.PodSandboxConfig) error {
	spec, err := p.sandboxSpec(&Pod{Config: cfg})
	if err != nil {
		return err
	}
	return spec.CheckSysctls("config.linux.sysctls")
}

// runSteps is the whole start as a list: each step records what recovery needs before it acts.
func (p *Pods) runSteps(e *inventory.Entry[Pod], cfg *runtimeapi.PodSandboxConfig, handler string) []steps.Step {
	all := []steps.Step{
		{
			Name: "record",
			Do:   func(context.Context) error { return p.recordIntent(e, cfg, handler) },
			Undo: func(context.Context) error { return e.Erase(p.store.Remove) },
		},
		{
			Name: "files",
			Do:   func(context.Context) error { return p.makeFiles(e.ID, cfg) },
			Undo: func(context.Context) error { return p.removeFiles(e.ID) },
		},
		{
			Name: "namespaces",
			Do:   func(ctx context.Context) error { return p.makeSandbox(ctx, e) },
			Undo: func(ctx context.Context) error { return p.removeSandbox(ctx, e.Snapshot()) },
		},
	}
	if namespaces(cfg).GetNetwork() != runtimeapi.NamespaceMode_NODE {
		all = append(all, steps.Step{
			Name: "network",
			Do:   func(ctx context.Context) error { return p.connect(ctx, e) },
			Undo: func(ctx context.Context) error { return p.o.Network.Teardown(ctx, networkPod(e.Snapshot())) },
		})
	}
	all = append(all, steps.Step{
		Name: "release",
		Do:   func(ctx context.Context) error { return p.release(ctx, e) },
	})
	if p.o.Hooks != (noHooks{}) {
		all = append(all, steps.Step{Name: "hooks", Do: func(ctx context.Context) error { return p.hookRun(ctx, e) }})
	}
	return all
}

func (p *Pods) recordIntent(e *inventory.Entry[Pod], cfg *runtimeapi.PodSandboxConfig, handler string) error {
	err := e.Set(func(v *Pod) error {
		*v = Pod{
			ID: e.ID, Config: cfg, RuntimeHandler: handler,
			State: lifecycle.PodCreating, CreatedAt: time.Now(),
			CgroupPath: cfg.GetLinux().GetCgroupParent(),
		}
		if v.CgroupPath == "" {
			v.CgroupPath, v.OwnCgroup = filepath.Join(p.o.Layout.CgroupParent(), "pod"+e.ID), true
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, p.store.Remove(e.ID)) // its directory may be there
	}
	return nil
}

// sandboxSpec says what of the pod is the runtime's; the same for making and for removing.
func (p *Pods) sandboxSpec(v *Pod) (runtime.SandboxSpec, error) {
	ns := namespaces(v.Config)
	s := runtime.SandboxSpec{
		ID:         v.ID,
		Network:    !v.HostNetwork(),
		UTS:        !v.HostNetwork(),
		IPC:        ns.GetIpc() != runtimeapi.NamespaceMode_NODE,
		PID:        ns.GetPid() == runtimeapi.NamespaceMode_POD,
		Sysctls:    v.Config.GetLinux().GetSysctls(),
		PinDir:     filepath.Join(p.o.Layout.PodState(v.ID), "ns"),
		CgroupPath: v.CgroupPath,
		OwnCgroup:  v.OwnCgroup,
	}
	if s.UTS {
		s.Hostname = hostname(v)
	}
	maps, err := ocispec.UserMappings(ns)
	if err != nil {
		return s, err
	}
	if maps != nil {
		s.User = &runtime.IDMaps{UIDs: maps.UIDs, GIDs: maps.GIDs}
	}
	res, err := ocispec.PodResources(v.Config, p.o.Host)
	s.Resources = res
	return s, err
}

// hostname is the request's, or the short id, as a pod without one should still have a name of its own.
func hostname(v *Pod) string {
	if h := v.Config.GetHostname(); h != "" {
		return h
	}
	return v.ID[:min(12, len(v.ID))]
}

func (p *Pods) makeSandbox(ctx context.Context, e *inventory.Entry[Pod]) error {
	spec, err := p.sandboxSpec(e.Snapshot())
	if err != nil {
		return err
	}
	sb, err := p.o.Runtime.CreateSandbox(ctx, spec)
	if err != nil {
		return err
	}
	err = e.Set(func(v *Pod) error {
		v.NetNS, v.IPCNS, v.UTSNS, v.UserNS = sb.NetNS, sb.IPCNS, sb.UTSNS, sb.UserNS
		if spec.PID {
			v.PID = sb.Pid
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, p.removeSandbox(ctx, e.Snapshot()))
	}
	steps.Lap(ctx, "record")
	return nil
}

func (p *Pods) removeSandbox(ctx context.Context, v *Pod) error {
	spec, err := p.sandboxSpec(v)
	if err != nil {
		return err
	}
	return p.o.Runtime.RemoveSandbox(ctx, spec)
}

// release lets the holder go, where the pod has namespaces of its own at all.
func (p *Pods) release(ctx context.Context, e *inventory.Entry[Pod]) error {
	spec, err := p.sandboxSpec(e.Snapshot())
	if err != nil || !(spec.Network || spec.UTS || spec.IPC || spec.PID || spec.User != nil) {
		return err
	}
	return p.o.Runtime.ReleaseSandbox(ctx, e.ID)
}

func (p *Pods) connect(ctx context.Context, e *inventory.Entry[Pod]) error {
	res, err := p.o.Network.Setup(ctx, networkPod(e.Snapshot()))
	if err != nil {
		return err
	}
	if err := e.Set(func(v *Pod) error { v.Network = res; return nil }); err != nil {
		pod := networkPod(e.Snapshot())
		pod.Previous = res
		return errors.Join(err, p.o.Network.Teardown(ctx, pod))
	}
	steps.Lap(ctx, "record")
	if err := p.writeHosts(e.Snapshot()); err != nil {
		return err
	}
	steps.Lap(ctx, "hosts")
	return nil
}

// networkPod is the pod as the network sees it.
func networkPod(v *Pod) network.Pod {
	m := v.Config.GetMetadata()
	pod := network.Pod{
		ID: v.ID, Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUid(),
		NetNS: v.NetNS, Annotations: v.Config.GetAnnotations(), Previous: v.Network,
	}
	for _, pm := range v.Config.GetPortMappings() {
		if pm.GetHostPort() == 0 {
			continue // CRI: a port without a host port is only told, not mapped
		}
		ip, _ := netip.ParseAddr(pm.GetHostIp()) // validated at the door; "" is every address
		pod.Ports = append(pod.Ports, network.PortMapping{
			Protocol: protocol(pm.GetProtocol()), HostIP: ip,
			HostPort: uint16(pm.GetHostPort()), ContainerPort: uint16(pm.GetContainerPort()),
		})
	}
	return pod
}

func protocol(p runtimeapi.Protocol) string {
	switch p {
	case runtimeapi.Protocol_UDP:
		return "udp"
	case runtimeapi.Protocol_SCTP:
		return "sctp"
	}
	return "tcp"
}
