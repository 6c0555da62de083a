package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix" // SO_PEERCRED and pidfd_open: whose end to wait for
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
			// The socket goes first and the pods after it: what tells is the process's end.
			process, err := a.agentProcess()
			if err != nil {
				return err
			}
			defer process.Close()
			// The agent may be gone before its answer is read.
			if err := n.ext.Down(ctx); err != nil && status.Code(err) != codes.Unavailable {
				return err
			}
			return awaitExit(ctx, process)
		},
	}
	c.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait")
	return c
}

// agentProcess is a pidfd of the process that listens on the socket.
func (a *app) agentProcess() (*os.File, error) {
	conn, err := net.Dial("unix", strings.TrimPrefix(a.socket, "unix://"))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	var sysErr error
	err = raw.Control(func(s uintptr) {
		var cred *unix.Ucred
		if cred, sysErr = unix.GetsockoptUcred(int(s), unix.SOL_SOCKET, unix.SO_PEERCRED); sysErr == nil {
			fd, sysErr = unix.PidfdOpen(int(cred.Pid), unix.PIDFD_NONBLOCK)
		}
	})
	if err = errors.Join(err, sysErr); err != nil {
		return nil, fmt.Errorf("find the agent's process: %w", err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// awaitExit waits for the end of the process behind a pidfd: it becomes readable
// (pidfd_open(2)), which poll tells; Go's own poller refuses to read one.
func awaitExit(ctx context.Context, pidfd *os.File) error {
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 100)
		switch {
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("the agent has not ended yet: %w", context.Cause(ctx))
		case err != nil && !errors.Is(err, unix.EINTR):
			return os.NewSyscallError("poll", err)
		}
	}
}
