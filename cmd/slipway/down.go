package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (a *app) downCommand() *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use:   "down",
		Short: "Stop all pods, the monitor and the agent",
		Long: `Stop all pods, the monitor and the agent behind the socket, and wait until the agent has gone. To end only the
agent and leave the containers running, send it SIGTERM.`,
		Example: "  slipway down\n  slipway down --wait 2m",
		Args:    positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			n, err := a.connect(ctx)
			if err != nil {
				return err
			}
			// The agent may be gone before its answer is read; whether it is, is seen below.
			if err := n.ext.Down(ctx); err != nil && status.Code(err) != codes.Unavailable {
				return err
			}
			return a.awaitGone(ctx)
		},
	}
	c.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait")
	return c
}

// awaitGone holds a connection of its own to the socket: its end is the agent's, and then the
// listener must be gone too.
func (a *app) awaitGone(ctx context.Context) error {
	path := strings.TrimPrefix(a.socket, "unix://")
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("the agent still answers on %s: %w", path, context.Cause(ctx))
			}
			return nil
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		_, err = io.Copy(io.Discard, conn)
		stop()
		_ = conn.Close()
		if err != nil && !errors.Is(err, net.ErrClosed) {
			continue
		}
		// gRPC drops a connection without a preface after a while: ask again, but not in a loop that burns.
		select {
		case <-ctx.Done():
			return fmt.Errorf("the agent still answers on %s: %w", path, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
