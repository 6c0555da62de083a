package nri

import (
	"context"
	"errors"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/containers"
)

// CreateContainer implements containers.Hooks: plugins change s, update and evict other containers.
func (n *NRI) CreateContainer(ctx context.Context, v *containers.Container, s *specs.Spec) (changed bool, err error) {
	if n.idle() {
		return false, nil
	}
	pod, err := n.podOf(v)
	if err != nil {
		return false, err
	}
	request := &adaptation.CreateContainerRequest{Pod: pod, Container: containerMessage(v, s)}
	answer, err := n.relay.CreateContainer(ctx, request)
	if err == nil {
		removed := remove(s, request.GetContainer())
		if changed, err = n.adjust(s, answer.GetAdjust()); err == nil {
			changed = changed || removed
			err = errors.Join(n.evict(ctx, answer.GetEvict()), n.update(ctx, answer.GetUpdate()))
		}
	}
	if err != nil {
		ctx = context.WithoutCancel(ctx) // plugins that had the container already give back what they gave it
		n.stop(ctx, v, s)
		n.RemoveContainer(ctx, v)
		return false, refused("CreateContainer", err)
	}
	return changed, nil
}

// PostCreateContainer implements containers.Hooks.
func (n *NRI) PostCreateContainer(ctx context.Context, v *containers.Container) {
	n.tell("PostCreateContainer", v, func(p *adaptation.PodSandbox, c *adaptation.Container) error {
		return n.relay.PostCreateContainer(ctx, &adaptation.PostCreateContainerRequest{Pod: p, Container: c})
	})
}

// StartContainer implements containers.Hooks.
func (n *NRI) StartContainer(ctx context.Context, v *containers.Container) error {
	if n.idle() {
		return nil
	}
	pod, err := n.podOf(v)
	if err != nil {
		return err
	}
	err = n.relay.StartContainer(ctx, &adaptation.StartContainerRequest{Pod: pod, Container: n.message(v)})
	if err != nil {
		return refused("StartContainer", err)
	}
	return nil
}

// PostStartContainer implements containers.Hooks.
func (n *NRI) PostStartContainer(ctx context.Context, v *containers.Container) {
	n.tell("PostStartContainer", v, func(p *adaptation.PodSandbox, c *adaptation.Container) error {
		return n.relay.PostStartContainer(ctx, &adaptation.PostStartContainerRequest{Pod: p, Container: c})
	})
}

// UpdateContainer implements containers.Hooks. own is r with what plugins changed; others are to be carried out
// once the container's slot is free.
func (n *NRI) UpdateContainer(ctx context.Context, v *containers.Container, r *specs.LinuxResources) (own *specs.LinuxResources, others func(context.Context) error, err error) {
	none := func(context.Context) error { return nil }
	if n.idle() {
		return r, none, nil
	}
	pod, err := n.podOf(v)
	if err != nil {
		return nil, nil, err
	}
	answer, err := n.relay.UpdateContainer(ctx, &adaptation.UpdateContainerRequest{
		Pod: pod, Container: n.message(v), LinuxResources: api.FromOCILinuxResources(r, nil),
	})
	if err != nil {
		return nil, nil, refused("UpdateContainer", err)
	}
	own = r
	var rest []*adaptation.ContainerUpdate
	for _, u := range answer.GetUpdate() {
		switch {
		case u == nil: // nobody changed the request itself
		case u.GetContainerId() == v.ID:
			if own, err = n.resources(u.GetLinux().GetResources()); err != nil {
				return nil, nil, refused("UpdateContainer", err)
			}
		default:
			rest = append(rest, u)
		}
	}
	if len(rest) == 0 && len(answer.GetEvict()) == 0 {
		return own, none, nil
	}
	return own, func(ctx context.Context) error {
		return errors.Join(n.evict(ctx, answer.GetEvict()), n.update(ctx, rest))
	}, nil
}

// PostUpdateContainer implements containers.Hooks.
func (n *NRI) PostUpdateContainer(ctx context.Context, v *containers.Container) {
	n.tell("PostUpdateContainer", v, func(p *adaptation.PodSandbox, c *adaptation.Container) error {
		return n.relay.PostUpdateContainer(ctx, &adaptation.PostUpdateContainerRequest{Pod: p, Container: c})
	})
}

// StopContainer implements containers.Hooks; others are to be carried out without anything held.
func (n *NRI) StopContainer(ctx context.Context, v *containers.Container) (others func(context.Context)) {
	var s *specs.Spec
	if !n.idle() {
		s = n.spec(v)
	}
	updates := n.stop(ctx, v, s)
	if len(updates) == 0 {
		return nil
	}
	return func(ctx context.Context) { n.warn("StopContainer", "container", v.ID, n.update(ctx, updates)) }
}

func (n *NRI) stop(ctx context.Context, v *containers.Container, s *specs.Spec) []*adaptation.ContainerUpdate {
	if n.idle() {
		return nil
	}
	pod, err := n.podOf(v)
	if err != nil {
		n.warn("StopContainer", "container", v.ID, err)
		return nil
	}
	answer, err := n.relay.StopContainer(ctx, &adaptation.StopContainerRequest{Pod: pod, Container: containerMessage(v, s)})
	n.warn("StopContainer", "container", v.ID, err)
	return answer.GetUpdate()
}

// RemoveContainer implements containers.Hooks.
func (n *NRI) RemoveContainer(ctx context.Context, v *containers.Container) {
	n.tell("RemoveContainer", v, func(p *adaptation.PodSandbox, c *adaptation.Container) error {
		return n.relay.RemoveContainer(ctx, &adaptation.RemoveContainerRequest{Pod: p, Container: c})
	})
}

// tell relays an event that no plugin can object to.
func (n *NRI) tell(event string, v *containers.Container, relay func(*adaptation.PodSandbox, *adaptation.Container) error) {
	if n.idle() {
		return
	}
	pod, err := n.podOf(v)
	if err == nil {
		err = relay(pod, n.message(v))
	}
	n.warn(event, "container", v.ID, err)
}

// message is the container with the spec that it was created with.
func (n *NRI) message(v *containers.Container) *adaptation.Container {
	return containerMessage(v, n.spec(v))
}

// spec is nil where it was never written, or cannot be read any more.
func (n *NRI) spec(v *containers.Container) *specs.Spec {
	s, err := n.containers.Spec(v.ID)
	if err != nil {
		n.o.Log.WithField("container", v.ID).WithError(err).Debug("NRI: plugins are told without the runtime-spec")
		return nil
	}
	return s
}
