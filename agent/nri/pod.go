package nri

import (
	"context"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/pods"
)

// RunPod implements pods.Hooks. When one plugin refuses the pod, those that had it already are told of its end.
func (n *NRI) RunPod(ctx context.Context, v *pods.Pod) error {
	if n.idle() {
		return nil
	}
	if err := n.relay.RunPodSandbox(ctx, &adaptation.RunPodSandboxRequest{Pod: podMessage(v)}); err != nil {
		ctx = context.WithoutCancel(ctx)
		n.StopPod(ctx, v)
		n.RemovePod(ctx, v)
		return refused("RunPodSandbox", err)
	}
	return nil
}

// UpdatePod implements pods.Hooks.
func (n *NRI) UpdatePod(ctx context.Context, v *pods.Pod, overhead, resources *specs.LinuxResources) error {
	if n.idle() {
		return nil
	}
	_, err := n.relay.UpdatePodSandbox(ctx, &adaptation.UpdatePodSandboxRequest{
		Pod:                    podMessage(v),
		OverheadLinuxResources: api.FromOCILinuxResources(overhead, nil),
		LinuxResources:         api.FromOCILinuxResources(resources, nil),
	})
	if err != nil {
		return refused("UpdatePodSandbox", err)
	}
	return nil
}

// PostUpdatePod implements pods.Hooks.
func (n *NRI) PostUpdatePod(ctx context.Context, v *pods.Pod) {
	if n.idle() {
		return
	}
	err := n.relay.PostUpdatePodSandbox(ctx, &adaptation.PostUpdatePodSandboxRequest{Pod: podMessage(v)})
	n.warn("PostUpdatePodSandbox", "pod", v.ID, err)
}

// StopPod implements pods.Hooks.
func (n *NRI) StopPod(ctx context.Context, v *pods.Pod) {
	if n.idle() {
		return
	}
	err := n.relay.StopPodSandbox(ctx, &adaptation.StopPodSandboxRequest{Pod: podMessage(v)})
	n.warn("StopPodSandbox", "pod", v.ID, err)
}

// RemovePod implements pods.Hooks.
func (n *NRI) RemovePod(ctx context.Context, v *pods.Pod) {
	if n.idle() {
		return
	}
	err := n.relay.RemovePodSandbox(ctx, &adaptation.RemovePodSandboxRequest{Pod: podMessage(v)})
	n.warn("RemovePodSandbox", "pod", v.ID, err)
}

// warn logs the error of an event that no plugin can object to: what it tells of has happened.
func (n *NRI) warn(event, kind, id string, err error) {
	if err != nil {
		n.o.Log.WithField(kind, id).WithError(err).Warn("NRI: a plugin failed at " + event)
	}
}
