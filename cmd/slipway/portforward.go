package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/cmd/slipway/internal/remote"
)

func (a *app) portForwardCommand() *cobra.Command {
	address := "127.0.0.1"
	c := &cobra.Command{
		Use:     "port-forward POD [LOCAL:]PORT...",
		Short:   "Forward local ports into a pod",
		Long:    "Listen on local ports and forward their connections into a pod until interrupted. LOCAL 0 takes a free port.",
		Example: "  slipway port-forward web 8080:80\n  slipway port-forward web 0:5432",
		Args:    positional(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			n, err := a.connect(ctx)
			if err != nil {
				return err
			}
			pod, err := n.pod(ctx, args[0])
			if err != nil {
				return err
			}
			return a.forwardAll(ctx, n, pod, address, args[1:])
		},
	}
	c.Flags().StringVar(&address, "address", address, "local address to listen on")
	return c
}

func (a *app) forwardAll(ctx context.Context, n *node, pod, address string, specs []string) error {
	r, err := n.runtime.PortForward(ctx, &runtimeapi.PortForwardRequest{PodSandboxId: pod})
	if err != nil {
		return err
	}
	f, err := remote.DialForward(ctx, r.GetUrl())
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for _, s := range specs {
		local, port, err := parseForward(s)
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", net.JoinHostPort(address, local))
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s -> %d\n", l.Addr(), port)
		context.AfterFunc(ctx, func() { _ = l.Close() })
		group.Go(func() { a.accept(l, f, port) })
	}
	select {
	case <-ctx.Done():
		return nil
	case <-f.Done():
		return errors.New("the agent ended the connection")
	}
}

func (a *app) accept(l net.Listener, f *remote.Forwarder, port uint16) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			if err := f.Forward(conn, port); err != nil {
				a.note("port %d: %v", port, err)
			}
		}()
	}
}

func parseForward(s string) (local string, port uint16, err error) {
	local, remotePort, ok := strings.Cut(s, ":")
	if !ok {
		remotePort = local
	}
	n, err := strconv.ParseUint(remotePort, 10, 16)
	if err != nil || n == 0 {
		return "", 0, usagef("port %q: want [LOCAL:]PORT", s)
	}
	if _, err := strconv.ParseUint(local, 10, 16); err != nil {
		return "", 0, usagef("port %q: want [LOCAL:]PORT", s)
	}
	return local, uint16(n), nil
}
