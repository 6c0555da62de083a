package containers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/ocispec"
)

// Hooks are told of the steps of a container's life; they may object to some and change what is made.
type Hooks interface {
	// Enter is that of pods.Hooks.
	Enter(first bool) (leave func())
	// CreateContainer may change s, and updates other containers by itself; changed says that it did change s. After an error whoever was told has been told of the container's end too.
	CreateContainer(ctx context.Context, v *Container, s *specs.Spec) (changed bool, err error)
	PostCreateContainer(ctx context.Context, v *Container)
	StartContainer(ctx context.Context, v *Container) error
	PostStartContainer(ctx context.Context, v *Container)
	// UpdateContainer answers with the limits to apply instead of r, and with what is to be done to other
	// containers once the slot of this one is free.
	UpdateContainer(ctx context.Context, v *Container, r *specs.LinuxResources) (own *specs.LinuxResources, others func(context.Context) error, err error)
	PostUpdateContainer(ctx context.Context, v *Container)
	// StopContainer is told of a container that has ended, by itself or not. others may be nil; it is called with
	// nothing held.
	StopContainer(ctx context.Context, v *Container) (others func(context.Context))
	RemoveContainer(ctx context.Context, v *Container)
}

// noHooks is what containers have without any.
type noHooks struct{}

func (noHooks) Enter(bool) func() { return func() {} }
func (noHooks) CreateContainer(context.Context, *Container, *specs.Spec) (bool, error) {
	return false, nil
}
func (noHooks) PostCreateContainer(context.Context, *Container)  {}
func (noHooks) StartContainer(context.Context, *Container) error { return nil }
func (noHooks) PostStartContainer(context.Context, *Container)   {}
func (noHooks) UpdateContainer(_ context.Context, _ *Container, r *specs.LinuxResources) (*specs.LinuxResources, func(context.Context) error, error) {
	return r, func(context.Context) error { return nil }, nil
}
func (noHooks) PostUpdateContainer(context.Context, *Container)                 {}
func (noHooks) StopContainer(context.Context, *Container) func(context.Context) { return nil }
func (noHooks) RemoveContainer(context.Context, *Container)                     {}

// hookCreate lets hooks change the spec before it is written, and puts into the record what status and
// removal need of that. The gate that it enters is left once the container is listed, or gone.
func (c *Containers) hookCreate(ctx context.Context, k *creation) error {
	k.e.AfterMake(c.o.Hooks.Enter(true))
	changed, err := c.o.Hooks.CreateContainer(ctx, k.e.Snapshot(), k.built.Spec)
	if err != nil || !changed {
		return err
	}
	sum := requestSum(k.cfg)
	l := k.built.Spec.Linux
	err = k.e.Set(func(v *Container) error {
		v.CgroupPath, v.RequestSum = l.CgroupsPath, sum
		v.Config = updated(v.Config, ocispec.Reported(v.Config.GetLinux().GetResources(), l.Resources), nil)
		return nil
	})
	if err == nil {
		err = c.writeSpec(k.e.ID, k.built.Spec)
	}
	if err != nil {
		c.hookRemove(context.WithoutCancel(ctx), k.e.Snapshot())
	}
	return err
}

// hookStart tells of a start, unless an earlier call did; its error leaves the container as it is.
func (c *Containers) hookStart(ctx context.Context, v *Container) error {
	if v.State == lifecycle.ContainerStarting {
		return nil
	}
	if _, err := lifecycle.NextContainer(v.State, lifecycle.ContainerStart); err != nil {
		return err
	}
	return c.o.Hooks.StartContainer(ctx, v)
}

// hookStarted tells of a start that succeeded.
func (c *Containers) hookStarted(ctx context.Context, e *inventory.Entry[Container]) {
	if v := e.Snapshot(); !v.StartedAt.IsZero() && v.Reason != "StartError" {
		c.o.Hooks.PostStartContainer(ctx, v)
	}
}

// requestSum stands for a request whose configuration was changed.
func requestSum(cfg *runtimeapi.ContainerConfig) string {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(cfg)
	if err != nil {
		return "" // then a repeated request is refused, not joined
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// asked says whether v is what the request cfg made.
func (v *Container) asked(cfg *runtimeapi.ContainerConfig) bool {
	if v.RequestSum != "" {
		return v.RequestSum == requestSum(cfg)
	}
	return proto.Equal(v.Config, cfg)
}

// hookStop tells once of a container that has ended; it returns when that is done, whoever does it.
func (c *Containers) hookStop(ctx context.Context, v *Container, x *end) {
	if x == nil {
		return
	}
	var others func(context.Context)
	x.told.Do(func() {
		leave := c.o.Hooks.Enter(false)
		defer leave()
		others = c.o.Hooks.StopContainer(ctx, v)
	})
	if others != nil {
		go others(context.WithoutCancel(ctx)) // takes slots, of which the caller may hold one
	}
}

// hookRemove tells of a container's end.
func (c *Containers) hookRemove(ctx context.Context, v *Container) {
	leave := c.o.Hooks.Enter(false)
	defer leave()
	c.hookStop(ctx, v, c.end(v.ID))
	c.o.Hooks.RemoveContainer(ctx, v)
}

// Adjust changes the limits of a created or running container without telling any hook: a hook asked for it.
func (c *Containers) Adjust(ctx context.Context, id string, r *specs.LinuxResources) error {
	return c.held(ctx, id, func(e *inventory.Entry[Container]) error { return c.limit(ctx, e, r) })
}

// limit puts limits into the cgroup of a container whose slot is held, and into its status.
func (c *Containers) limit(ctx context.Context, e *inventory.Entry[Container], r *specs.LinuxResources) error {
	v := e.Snapshot()
	if v.State != lifecycle.ContainerCreated && v.State != lifecycle.ContainerRunning {
		return fmt.Errorf("update container %s: it is %s: %w", e.ID, v.State, lifecycle.ErrState)
	}
	err := c.apply(ctx, e, r, nil, func(v *Container) error {
		v.Config = updated(v.Config, ocispec.Reported(v.Config.GetLinux().GetResources(), r), nil)
		return nil
	})
	if err != nil {
		return fmt.Errorf("update container %s: %w", e.ID, err)
	}
	return nil
}
