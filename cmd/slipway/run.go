package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/cmd/slipway/internal/crilog"
	"github.com/slipway-cri/slipway/cmd/slipway/internal/remote"
)

func (a *app) runCommand() *cobra.Command {
	o := &runOptions{}
	c := &cobra.Command{
		Use:   "run [FLAGS] IMAGE [--] [ARG...]",
		Short: "Run a pod with one container",
		Long: `Run a pod with one container, print its output and return its exit code; 125 is slipway's own.

A missing image is pulled. ARGs replace the image's command and leave its entrypoint. Ctrl-C and SIGTERM stop
the container; on a terminal (-it) Ctrl-C goes to the container, and Ctrl-P Ctrl-Q leaves it running.
Without --rm the stopped pod and its log stay until "slipway rm". --pod adds the container to a pod that is there,
in its namespaces.`,
		Example: `  slipway run --rm docker.io/library/busybox:latest -- echo hello
  slipway run --rm -it docker.io/library/busybox:latest sh
  slipway run -d --name web -p 8080:80 -v /srv/www:/usr/share/nginx/html:ro docker.io/library/nginx:1.14
  slipway run --rm --pod web docker.io/library/busybox:latest -- wget -qO- 127.0.0.1`,
		Args: positional(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.image, o.args = args[0], afterDashes(args[1:])
			n, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			return a.run(cmd.Context(), n, o)
		},
	}
	c.Flags().SetInterspersed(false)
	o.flags(c.Flags())
	_ = c.RegisterFlagCompletionFunc("pull", cobra.FixedCompletions([]string{"missing", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// run makes the pod and hands on the container's exit code. The pod is taken away again,
// with an interrupted ctx too, when it was not meant to stay.
func (a *app) run(ctx context.Context, n *node, o *runOptions) error {
	pod, ctr, err := o.configs()
	if err != nil {
		return err
	}
	if o.pod != "" {
		return a.runBeside(ctx, n, o, ctr)
	}
	if err := n.nameIsFree(ctx, pod.GetMetadata().GetName()); err != nil {
		return err
	}
	if err := a.ensureImage(ctx, n, o, ctr); err != nil {
		return err
	}
	if err := os.MkdirAll(pod.GetLogDirectory(), 0o700); err != nil {
		return err
	}
	r, err := n.runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: pod})
	if err != nil {
		return errors.Join(err, os.RemoveAll(pod.GetLogDirectory()))
	}
	// What follows must happen however the command ends.
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	code, stays, err := a.runInPod(ctx, n, o, r.GetPodSandboxId(), pod, ctr)
	switch {
	case err != nil && !stays, o.rm && !stays:
		err = errors.Join(err, n.removePod(cleanup, r.GetPodSandboxId(), true))
	case !stays:
		_, stopErr := n.runtime.StopPodSandbox(cleanup, &runtimeapi.StopPodSandboxRequest{PodSandboxId: r.GetPodSandboxId()})
		err = errors.Join(err, stopErr)
	}
	if err == nil && code != 0 {
		return exitStatus(code)
	}
	return err
}

// runInPod creates, starts and watches the container. stays: it runs on, detached.
func (a *app) runInPod(ctx context.Context, n *node, o *runOptions, pod string, podConfig *runtimeapi.PodSandboxConfig, config *runtimeapi.ContainerConfig) (code int, stays bool, err error) {
	id, err := n.create(ctx, pod, podConfig, config)
	if err != nil {
		return 0, false, err
	}
	return a.runCreated(ctx, n, o, id)
}

// create returns the new container's id. podConfig may be nil: the agent has the pod's.
func (n *node) create(ctx context.Context, pod string, podConfig *runtimeapi.PodSandboxConfig, config *runtimeapi.ContainerConfig) (string, error) {
	r, err := n.runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: config, SandboxConfig: podConfig})
	return r.GetContainerId(), err
}

// runCreated starts and watches a container. stays: it runs on, detached.
func (a *app) runCreated(ctx context.Context, n *node, o *runOptions, id string) (code int, stays bool, err error) {
	// A signal must stop the container, not this command's start or view of it.
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	start := func() error {
		_, err := n.runtime.StartContainer(watch, &runtimeapi.StartContainerRequest{ContainerId: id})
		return err
	}
	if o.detach {
		if err := start(); err != nil {
			return 0, false, err
		}
		fmt.Fprintln(a.out, id)
		return 0, true, nil
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		a.note("stopping %s", shortID(id))
		if err := n.stopContainer(watch, id, o.grace); err != nil {
			a.note("stop: %s", explain(err))
		}
	})
	err = a.watchContainer(watch, n, id, o, start)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, remote.ErrDetached) {
		return 0, true, nil
	}
	if err != nil {
		return 0, false, err
	}
	code, err = n.wait(watch, id)
	return code, false, err
}

// logPoll is how often run looks for more of the log: often enough to seem immediate.
const logPoll = 25 * time.Millisecond

// watchContainer starts the container and returns when its output has ended. Without stdin
// and terminal the log is the output, byte for byte and from the first one on. Else it attaches
// before the start; a runtime that refuses that, or a container that was quicker, has left its log.
func (a *app) watchContainer(ctx context.Context, n *node, id string, o *runOptions, start func() error) error {
	fromLog := func() error {
		return a.logs(ctx, n, id, crilog.Options{Tail: -1, Follow: true, Poll: logPoll})
	}
	so := streamOptions{stdin: o.stdin, tty: o.tty, detach: true}
	url, err := "", error(nil)
	if o.stdin || o.tty {
		url, err = n.attach(ctx, id, so)
	}
	if url == "" || err != nil {
		if err := start(); err != nil {
			return err
		}
		if !o.stdin && !o.tty {
			return fromLog()
		}
		if url, err = n.attach(ctx, id, so); err != nil {
			return fromLog()
		}
		_, err = a.stream(ctx, url, so)
		return err
	}
	streamCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready, result := make(chan struct{}), make(chan error, 1)
	so.ready = func() { close(ready) }
	go func() {
		_, err := a.stream(streamCtx, url, so)
		result <- err
	}()
	select {
	case <-ready:
	case err := <-result:
		return err
	}
	if err := start(); err != nil {
		cancel()
		<-result // the terminal is itself again
		return err
	}
	return <-result
}

// wait returns the exit code once the container has exited. CRI has no call that waits;
// the output has ended by now, so the exit is near.
func (n *node) wait(ctx context.Context, id string) (int, error) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for d := 2 * time.Millisecond; ; d = min(2*d, 250*time.Millisecond) {
		s, err := n.status(ctx, id)
		if err != nil {
			return 0, err
		}
		if s.GetState() == runtimeapi.ContainerState_CONTAINER_EXITED {
			return int(s.GetExitCode()), nil
		}
		pause.Reset(d)
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-pause.C:
		}
	}
}

func (a *app) ensureImage(ctx context.Context, n *node, o *runOptions, config *runtimeapi.ContainerConfig) error {
	spec := &runtimeapi.ImageSpec{Image: o.image}
	r, err := n.image.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: spec})
	if err != nil && status.Code(err) != codes.NotFound {
		return err
	}
	id := r.GetImage().GetId()
	switch {
	case o.pull == "never" && id == "":
		return fmt.Errorf("image %s is not here, and --pull never", o.image)
	case o.pull == "always", id == "":
		auth, err := parseCreds("")
		if err != nil {
			return err
		}
		i, err := a.pull(ctx, n, o.image, auth, o.quiet)
		if err != nil {
			return err
		}
		id = i.ID
	}
	config.Image = &runtimeapi.ImageSpec{Image: id, UserSpecifiedImage: o.image}
	return nil
}

// nameIsFree keeps names useful: CRI tells pods apart by their uid.
func (n *node) nameIsFree(ctx context.Context, name string) error {
	r, err := n.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	for _, p := range r.GetItems() {
		if p.GetMetadata().GetName() == name && p.GetMetadata().GetNamespace() == runNamespace {
			return fmt.Errorf("there is a pod %s already (%s): remove it with `slipway rm -f %s`", name, shortID(p.GetId()), name)
		}
	}
	return nil
}
