package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/cmd/slipway/internal/crilog"
)

func (a *app) logsCommand() *cobra.Command {
	o := crilog.Options{}
	var since string
	c := &cobra.Command{
		Use:   "logs CONTAINER",
		Short: "Print a container's log",
		Long: `Print a container's log, which this command reads from the log file on this machine. With -f it
follows the log, over rotation, until the container ends.`,
		Example: "  slipway logs web\n  slipway logs -f --tail 20 web\n  slipway logs --since 10m -t web/nginx",
		Args:    positional(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.Since, err = parseSince(since); err != nil {
				return err
			}
			n, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			id, err := n.container(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.logs(cmd.Context(), n, id, o)
		},
	}
	c.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on until the container ends")
	c.Flags().IntVarP(&o.Tail, "tail", "n", -1, "the last lines only; -1 = all")
	c.Flags().BoolVarP(&o.Timestamps, "timestamps", "t", false, "print each line's time")
	c.Flags().StringVar(&since, "since", "", "from this time on: RFC 3339 or an age such as 10m")
	return c
}

func parseSince(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, usagef("--since %q: want RFC 3339 or a duration", s)
	}
	return t, nil
}

func (a *app) logs(ctx context.Context, n *node, id string, o crilog.Options) error {
	s, err := n.status(ctx, id)
	if err != nil {
		return err
	}
	if s.GetLogPath() == "" {
		return fmt.Errorf("container %s has no log: it was created without a log path", shortID(id))
	}
	if o.Follow {
		o.Done = func() (bool, error) { return n.ended(ctx, id) }
	}
	err = crilog.Copy(ctx, s.GetLogPath(), o, a.out, a.err)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("container %s: its log %s is not on this machine, or has been removed", shortID(id), s.GetLogPath())
	}
	return err
}

func (n *node) status(ctx context.Context, id string) (*runtimeapi.ContainerStatus, error) {
	r, err := n.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id})
	return r.GetStatus(), err
}

// ended tells whether the container has exited or been removed.
func (n *node) ended(ctx context.Context, id string) (bool, error) {
	s, err := n.status(ctx, id)
	switch {
	case status.Code(err) == codes.NotFound, ctx.Err() != nil:
		return true, nil
	case err != nil:
		return false, err
	}
	return s.GetState() == runtimeapi.ContainerState_CONTAINER_EXITED, nil
}
