package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const defaultGrace = 10 * time.Second

func (a *app) stopCommand() *cobra.Command {
	var grace time.Duration
	c := &cobra.Command{
		Use:     "stop POD|CONTAINER...",
		Short:   "Stop pods or containers",
		Long:    "Send the stop signal, and SIGKILL after the grace period. Stopping a pod stops its containers first.",
		Example: "  slipway stop web\n  slipway stop --time 0 web/nginx",
		Args:    positional(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			return a.each(cmd.Context(), n, args, func(ctx context.Context, id string, isPod bool) error {
				if isPod {
					return n.stopPod(ctx, id, grace)
				}
				return n.stopContainer(ctx, id, grace)
			})
		},
	}
	c.Flags().DurationVarP(&grace, "time", "t", defaultGrace, "grace period")
	return c
}

func (a *app) rmCommand() *cobra.Command {
	var force, all bool
	c := &cobra.Command{
		Use:     "rm POD|CONTAINER...",
		Short:   "Remove pods or containers",
		Long:    "Remove stopped pods or containers; with -f also running ones. The logs of pods made by `slipway run` go too.",
		Example: "  slipway rm web\n  slipway rm -f 3f2a\n  slipway rm -fa",
		Args:    positional(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			if all == (len(args) > 0) {
				return usagef("rm: name pods or containers, or give --all")
			}
			if all {
				pods, err := n.podCandidates(cmd.Context())
				if err != nil {
					return err
				}
				for _, p := range pods {
					args = append(args, p.id)
				}
			}
			return a.each(cmd.Context(), n, args, func(ctx context.Context, id string, isPod bool) error {
				if isPod {
					return n.removePod(ctx, id, force)
				}
				return n.removeContainer(ctx, id, force)
			})
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "also what runs")
	c.Flags().BoolVarP(&all, "all", "a", false, "all pods")
	return c
}

// each resolves every word before it does anything, and prints what is done.
func (a *app) each(ctx context.Context, n *node, words []string, do func(context.Context, string, bool) error) error {
	type target struct {
		word, id string
		isPod    bool
	}
	var list []target
	for _, w := range words {
		id, isPod, err := n.podOrContainer(ctx, w)
		if err != nil {
			return err
		}
		list = append(list, target{w, id, isPod})
	}
	for _, t := range list {
		if err := do(ctx, t.id, t.isPod); err != nil {
			return err
		}
		fmt.Fprintln(a.out, t.word)
	}
	return nil
}

func (n *node) stopContainer(ctx context.Context, id string, grace time.Duration) error {
	seconds := int64((grace + time.Second - 1) / time.Second) // CRI has whole seconds
	_, err := n.runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: seconds})
	return err
}

// stopPod gives the containers their grace period at the same time; StopPodSandbox gives none.
func (n *node) stopPod(ctx context.Context, id string, grace time.Duration) error {
	r, err := n.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{
		PodSandboxId: id, State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	}})
	if err != nil {
		return err
	}
	results := make(chan error, len(r.GetContainers()))
	for _, c := range r.GetContainers() {
		go func() { results <- n.stopContainer(ctx, c.GetId(), grace) }()
	}
	for range r.GetContainers() {
		if e := <-results; e != nil {
			err = e
		}
	}
	if err != nil {
		return err
	}
	_, err = n.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id})
	return err
}

func (n *node) removeContainer(ctx context.Context, id string, force bool) error {
	s, err := n.status(ctx, id)
	if err != nil {
		return err
	}
	if !force && s.GetState() == runtimeapi.ContainerState_CONTAINER_RUNNING {
		return fmt.Errorf("container %s runs: stop it first, or remove it with -f", shortID(id))
	}
	_, err = n.runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id})
	return err
}

func (n *node) removePod(ctx context.Context, id string, force bool) error {
	r, err := n.runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		return err
	}
	ready := r.GetStatus().GetState() == runtimeapi.PodSandboxState_SANDBOX_READY
	if ready && !force {
		return fmt.Errorf("pod %s is up: stop it first, or remove it with -f", shortID(id))
	}
	if _, err := n.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		return err
	}
	if _, err := n.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		return err
	}
	return removeLogs(r.GetStatus())
}

// removeLogs removes the log directory that run made; other clients' are theirs.
func removeLogs(p *runtimeapi.PodSandboxStatus) error {
	if dir := ownLogDirectory(p); dir != "" {
		return os.RemoveAll(dir)
	}
	return nil
}

// ownLogDirectory is the pod's log directory if run made it, else "".
func ownLogDirectory(p *runtimeapi.PodSandboxStatus) string {
	dir := p.GetAnnotations()[logDirAnnotation]
	if p.GetLabels()[runLabel] == "" || !filepath.IsAbs(dir) || filepath.Base(dir) != p.GetMetadata().GetUid() {
		return ""
	}
	return dir
}
