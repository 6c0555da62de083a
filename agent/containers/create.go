package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/ocispec"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/runtime"
	"github.com/slipway-cri/slipway/agent/steps"
)

// creation is what the steps of one Create hand to each other.
type creation struct {
	e     *inventory.Entry[Container]
	pod   *pods.Pod
	cfg   *runtimeapi.ContainerConfig
	image *images.Image
	root  *images.Rootfs
	built *ocispec.Output

	volumes     []VolumeImage
	volumeRoots map[string]runtime.Layers // by image id
}

// Create makes a container in a ready pod, up to its start gate, or joins a creation of the same
// container that is under way, or finds the one that an earlier call with the same request made. A
// creation that fails leaves nothing.
func (c *Containers) Create(ctx context.Context, podID string, cfg *runtimeapi.ContainerConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	pod, err := c.o.Pods.Get(podID)
	if err != nil {
		return "", err
	}
	same := func(old *Container) bool {
		return old.State == lifecycle.ContainerCreated && old.asked(cfg)
	}
	return c.inv.Make(ctx, key(pod.ID, cfg), same, func(ctx context.Context, e *inventory.Entry[Container]) error {
		err := c.create(ctx, e, pod.ID, cfg)
		if err != nil {
			return fmt.Errorf("create container %q in pod %s: %w", cfg.GetMetadata().GetName(), pod.ID, err)
		}
		return nil
	})
}

// create holds the pod's slot, so that the pod is neither stopped nor removed meanwhile.
func (c *Containers) create(ctx context.Context, e *inventory.Entry[Container], podID string, cfg *runtimeapi.ContainerConfig) error {
	pod, release, err := c.o.Pods.Hold(ctx, podID)
	if err != nil {
		return err
	}
	defer release()
	if pod.State != lifecycle.PodReady {
		return fmt.Errorf("pod is %s: %w", pod.State, lifecycle.ErrState)
	}
	image, err := c.o.Images.Get(cfg.GetImage().GetImage())
	if err != nil {
		return fmt.Errorf("config.image: %w", err)
	}
	volumes, err := c.volumeImages(cfg.GetMounts())
	if err != nil {
		return err
	}
	c.newEnd(e.ID)
	k := &creation{e: e, pod: pod, cfg: cfg, image: image, volumes: volumes}
	times, err := steps.Run(ctx, c.createSteps(k))
	if err != nil {
		c.dropEnd(e.ID)
		return err
	}
	c.o.Hooks.PostCreateContainer(ctx, e.Snapshot())
	err = e.Set(func(v *Container) (err error) {
		v.Timeline = times
		if v.State == lifecycle.ContainerExited {
			return nil // killed from outside already: a status for the caller to see, not an error
		}
		v.State, err = lifecycle.NextContainer(v.State, lifecycle.ContainerSetUp)
		return err
	})
	if err != nil {
		return errors.Join(err, c.undo(ctx, e))
	}
	return nil
}

// undo takes a whole creation back.
func (c *Containers) undo(ctx context.Context, e *inventory.Entry[Container]) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), steps.UndoTimeout)
	defer cancel()
	if err := c.delete(ctx, e); err != nil {
		return err
	}
	c.hookRemove(ctx, e.Snapshot())
	return c.forget(e)
}

func (c *Containers) createSteps(k *creation) []steps.Step {
	id := k.e.ID
	all := []steps.Step{
		{
			Name: "record",
			Do:   func(context.Context) error { return c.recordIntent(k) },
			Undo: func(context.Context) error { return k.e.Erase(c.store.Remove) },
		},
		{
			Name: "layers",
			Do:   func(context.Context) error { return c.makeLayers(k) },
			Undo: func(context.Context) error { c.o.Images.Release(id); return nil },
		},
		{
			Name: "spec",
			Do:   func(context.Context) error { return c.makeSpec(k) },
		},
	}
	if c.o.Hooks != (noHooks{}) {
		all = append(all, steps.Step{
			Name: "hooks",
			Do:   func(ctx context.Context) error { return c.hookCreate(ctx, k) },
			Undo: func(ctx context.Context) error { c.hookRemove(ctx, k.e.Snapshot()); return nil },
		})
	}
	return append(all, steps.Step{
		Name: "process",
		Do:   func(ctx context.Context) error { return c.makeProcess(ctx, k) },
		Undo: func(ctx context.Context) error { return c.delete(ctx, k.e) },
	})
}

func (c *Containers) recordIntent(k *creation) error {
	began := time.Now()
	log, err := logPath(k.pod.Config.GetLogDirectory(), k.cfg.GetLogPath())
	if err != nil {
		return err
	}
	err = k.e.Set(func(v *Container) error {
		*v = Container{
			ID: k.e.ID, PodID: k.pod.ID, Config: k.cfg, State: lifecycle.ContainerCreating,
			ImageID: k.image.ID, ImageRef: imageRef(k.image), VolumeImages: k.volumes, LogPath: log,
			CgroupPath: filepath.Join(k.pod.CgroupPath, k.e.ID), CreatedAt: began,
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, c.store.Remove(k.e.ID)) // its directory may be there
	}
	return nil
}

// logPath joins the pod's directory and the container's relative path, and makes the directory
// that the file goes into, which a kubelet has done already and a person has not.
func logPath(dir, path string) (string, error) {
	if dir == "" || path == "" {
		return "", nil
	}
	p := filepath.Join(dir, path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return "", fmt.Errorf("config.log_path: %w", err)
	}
	return p, nil
}

func imageRef(i *images.Image) string {
	if len(i.RepoDigests) > 0 {
		return i.RepoDigests[0]
	}
	return i.ID
}

func (c *Containers) makeLayers(k *creation) (err error) {
	if k.root, err = c.o.Images.Use(k.image.ID, k.e.ID); err != nil {
		return err
	}
	if err := c.useVolumes(k); err != nil {
		return err
	}
	dir := c.o.Layout.ContainerDir(k.e.ID)
	for _, d := range []string{"upper", "work"} {
		if err := makeDir(filepath.Join(dir, d)); err != nil {
			c.o.Images.Release(k.e.ID)
			return err
		}
	}
	if err := likeImage(k.root, filepath.Join(dir, "upper")); err != nil {
		c.o.Images.Release(k.e.ID)
		return err
	}
	return nil
}

// makeDir makes a directory that becomes one of the container's own: 0755 whatever the agent's umask.
func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

func (c *Containers) makeSpec(k *creation) error {
	in, err := c.input(k)
	if err != nil {
		return err
	}
	if k.built, err = ocispec.Build(in); err != nil {
		return err
	}
	if err := makeSources(k.cfg.GetMounts()); err != nil {
		return err
	}
	if err := checkPropagation(k.cfg.GetMounts(), mountOf); err != nil {
		return err
	}
	if err := c.relabel(k.built.Relabel, k.built.Spec.Linux.MountLabel); err != nil {
		return err
	}
	for i := range k.built.Volumes {
		if err := makeDir(filepath.Join(in.VolumeDir, strconv.Itoa(i))); err != nil {
			return err
		}
	}
	return c.writeSpec(k.e.ID, k.built.Spec)
}

func (c *Containers) input(k *creation) (ocispec.Input, error) {
	files, err := c.users.of(k.image.ID)
	if err != nil {
		return ocispec.Input{}, err
	}
	host, err := c.host(k.pod.RuntimeHandler)
	if err != nil {
		return ocispec.Input{}, err
	}
	shared := c.o.Pods.Files(k.pod)
	in := ocispec.Input{
		ID: k.e.ID, PodID: k.pod.ID, Pod: k.pod.Config, Config: k.cfg, Image: &k.image.Config,
		Passwd: files.passwd, Group: files.group,
		NetNS: k.pod.NetNS, IPCNS: k.pod.IPCNS, UTSNS: k.pod.UTSNS, UserNS: k.pod.UserNS,
		CgroupPath: k.e.Snapshot().CgroupPath,
		ResolvConf: shared.ResolvConf, Hosts: shared.Hosts, Hostname: shared.Hostname, ShmDir: shared.Shm,
		ImageVolumes: k.volumeIDs(),
		VolumeDir:    filepath.Join(c.o.Layout.ContainerDir(k.e.ID), "volumes"),
		Host:         host,
	}
	in.PIDNS, err = c.pidNamespace(k)
	return in, err
}

// pidNamespace is the path of the PID namespace to join, "" for one of the container's own or the node's.
func (c *Containers) pidNamespace(k *creation) (string, error) {
	ns := k.cfg.GetLinux().GetSecurityContext().GetNamespaceOptions()
	switch ns.GetPid() {
	case runtimeapi.NamespaceMode_POD:
		if k.pod.PID == 0 {
			return "", nil // the pod shares none, which Build refuses
		}
		return fmt.Sprintf("/proc/%d/ns/pid", k.pod.PID), nil
	case runtimeapi.NamespaceMode_TARGET:
		target, err := c.Get(ns.GetTargetId())
		if err != nil {
			return "", fmt.Errorf("config.linux.security_context.namespace_options.target_id: %w", err)
		}
		if target.PodID != k.pod.ID {
			return "", fmt.Errorf("config.linux.security_context.namespace_options.target_id: container %s is in another pod: %w", target.ID, lifecycle.ErrInvalid)
		}
		if target.State != lifecycle.ContainerRunning {
			return "", fmt.Errorf("target container %s is %s: %w", target.ID, target.State, lifecycle.ErrState)
		}
		return fmt.Sprintf("/proc/%d/ns/pid", target.Pid), nil
	}
	return "", nil
}

func (c *Containers) makeProcess(ctx context.Context, k *creation) error {
	dir, v := c.o.Layout.ContainerDir(k.e.ID), k.e.Snapshot()
	pid, err := c.o.Runtime.Create(ctx, runtime.ContainerSpec{
		ID: k.e.ID, Spec: k.built.Spec,
		LowerBase: k.root.Base, Lower: k.root.Lower,
		Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
		Layers:  k.volumeLayers(),
		LogPath: v.LogPath, Stdin: k.cfg.GetStdin(), StdinOnce: k.cfg.GetStdinOnce(),
	})
	if err != nil {
		return err
	}
	err = k.e.Set(func(v *Container) error {
		if v.State == lifecycle.ContainerCreating {
			v.Pid = pid
		}
		v.User, v.StopSignal = k.built.User, k.built.StopSignal
		return nil
	})
	if err != nil {
		return errors.Join(err, c.delete(ctx, k.e))
	}
	steps.Lap(ctx, "record")
	return nil
}
