package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/cri/extension"
)

// maxMessage is the kubelet's own limit for a CRI message.
const maxMessage = 16 << 20

// errNoNode says that nobody answers on the socket.
var errNoNode = errors.New("no agent")

// app is one command line: its streams, its global flags and its connection.
type app struct {
	in       io.Reader
	out, err io.Writer
	socket   string
	format   string

	conn *grpc.ClientConn
}

// node is a connection to the agent.
type node struct {
	runtime runtimeapi.RuntimeServiceClient
	image   runtimeapi.ImageServiceClient
	ext     *extension.Client
}

func (a *app) json() bool { return a.format == "json" }

// note writes a line about the work to stderr.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.err, format+"\n", args...)
}

// connect dials the socket once by hand, since gRPC would only say "unavailable".
func (a *app) connect(ctx context.Context) (*node, error) {
	path, ok := strings.CutPrefix(a.socket, "unix://")
	if !ok && strings.Contains(a.socket, "://") {
		return nil, usagef("--socket %q: want a path or unix://PATH", a.socket)
	}
	var d net.Dialer
	probe, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: there is no socket %s; is `slipway serve` running? (--socket or SLIPWAY_SOCKET name another)", errNoNode, path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w: nobody answers on %s; is `slipway serve` running?", errNoNode, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: %s may not be opened by this user; the agent's socket is root's", errNoNode, path)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errNoNode, err)
	}
	_ = probe.Close()
	a.conn, err = grpc.NewClient("passthrough:///"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return &node{
		runtime: runtimeapi.NewRuntimeServiceClient(a.conn),
		image:   runtimeapi.NewImageServiceClient(a.conn),
		ext:     extension.NewClient(a.conn),
	}, nil
}

func (a *app) close() {
	if a.conn != nil {
		_ = a.conn.Close()
	}
}
