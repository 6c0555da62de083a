package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// besidePod refuses the flags that are settings of a pod, which --pod takes as it is.
func (o *runOptions) besidePod() error {
	switch {
	case len(o.ports) > 0:
		return usagef("--publish belongs to the pod: it does not go with --pod")
	case o.network != "pod":
		return usagef("--network belongs to the pod: it does not go with --pod")
	}
	return nil
}

// runBeside runs one more container in a pod that is there, in the pod's namespaces, and hands on
// its exit code. With --rm, or when it could not be started, the container and its log are taken away again.
func (a *app) runBeside(ctx context.Context, n *node, o *runOptions, ctr *runtimeapi.ContainerConfig) error {
	id, err := n.pod(ctx, o.pod)
	if err != nil {
		return err
	}
	r, err := n.runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		return err
	}
	s := r.GetStatus()
	if s.GetState() != runtimeapi.PodSandboxState_SANDBOX_READY {
		return fmt.Errorf("pod %s is stopped: no container can be added to it", o.pod)
	}
	if err := n.containerNameIsFree(ctx, id, ctr.GetMetadata().GetName()); err != nil {
		return err
	}
	if err := a.ensureImage(ctx, n, o, ctr); err != nil {
		return err
	}
	ctr.Linux.SecurityContext.NamespaceOptions = s.GetLinux().GetNamespaces().GetOptions()
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	created, err := n.create(ctx, id, nil, ctr)
	if err != nil {
		return err
	}
	code, stays, err := a.runCreated(ctx, n, o, created)
	if (err != nil || o.rm) && !stays {
		err = errors.Join(err, n.removeContainer(cleanup, created, true), removeLog(s, ctr))
	}
	if err == nil && code != 0 {
		return exitStatus(code)
	}
	return err
}

// removeLog removes a container's log where run made the directory; CRI leaves logs to the client.
func removeLog(p *runtimeapi.PodSandboxStatus, c *runtimeapi.ContainerConfig) error {
	dir := ownLogDirectory(p)
	if dir == "" {
		return nil
	}
	err := os.Remove(filepath.Join(dir, c.GetLogPath()))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// containerNameIsFree says so in words; the agent's own refusal names ids.
func (n *node) containerNameIsFree(ctx context.Context, pod, name string) error {
	r, err := n.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{PodSandboxId: pod}})
	if err != nil {
		return err
	}
	for _, c := range r.GetContainers() {
		if c.GetMetadata().GetName() == name {
			return fmt.Errorf("the pod has a container %s already (%s): remove it with `slipway rm -f %s`", name, shortID(c.GetId()), shortID(c.GetId()))
		}
	}
	return nil
}
