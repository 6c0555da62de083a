package server

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// maxMessage is kubelet's own limit for a CRI message, both ways.
const maxMessage = 16 << 20

// Handler is a runtime handler that pods may ask for by name, with its features.
type Handler struct {
	Name                    string
	RecursiveReadOnlyMounts bool
	UserNamespaces          bool
}

// Features are told to kubelet in Status; each is something that it refuses pods without.
type Features struct {
	SupplementalGroupsPolicy  bool
	UserNamespacesHostNetwork bool
	MountOptions              bool
}

// Options are the services behind the server and what it says of itself. All services are
// required but Streams, without which Exec, Attach and PortForward are Unimplemented.
type Options struct {
	Pods       Pods
	Containers Containers
	Images     Images
	Stats      Stats
	Events     Events
	Node       Node
	Streams    Streams

	Version       string    // of slipway, semver without "v"
	SystemdCgroup bool      // the cgroup driver: systemd, else cgroupfs
	Handlers      []Handler // nil: "" and "slipway" without features
	Features      Features
	Config        any // shown as JSON by a verbose Status; no secrets
	// Register adds further gRPC services to the socket; may be nil.
	Register func(grpc.ServiceRegistrar)
	// Observers are around every call, in this order; nil = none.
	Observers []Observer
	// Log takes one line per failed call; nil is logrus' standard logger.
	Log *logrus.Logger
}

// Server implements CRI's RuntimeService and ImageService.
type Server struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer

	Options
	grpc    *grpc.Server
	closing chan struct{} // closed by Stop: streams without an end of their own end then
	once    sync.Once
}

// New checks the options and builds the server; it does not listen yet.
func New(o Options) (*Server, error) {
	for name, missing := range map[string]bool{
		"Pods": o.Pods == nil, "Containers": o.Containers == nil, "Images": o.Images == nil,
		"Stats": o.Stats == nil, "Events": o.Events == nil, "Node": o.Node == nil, "Version": o.Version == "",
	} {
		if missing {
			return nil, fmt.Errorf("cri server: option %s is missing: %w", name, lifecycle.ErrInvalid)
		}
	}
	if o.Handlers == nil {
		o.Handlers = []Handler{{Name: ""}, {Name: runtimeName}}
	}
	if o.Log == nil {
		o.Log = logrus.StandardLogger()
	}
	s := &Server{Options: o, closing: make(chan struct{})}
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
		// A client that keeps its idle connection alive is no attacker: the socket is root's.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	runtimeapi.RegisterRuntimeServiceServer(s.grpc, s)
	runtimeapi.RegisterImageServiceServer(s.grpc, s)
	if o.Register != nil {
		o.Register(s.grpc)
	}
	return s, nil
}

// Registrar takes further services for the same socket, before Serve.
func (s *Server) Registrar() grpc.ServiceRegistrar { return s.grpc }

// Serve answers calls on l until Stop, which makes it return nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil {
		return fmt.Errorf("serve CRI on %s: %w", l.Addr(), err)
	}
	return nil
}

// Stop refuses new calls, waits for those under way until ctx ends, and then cancels them.
// Every verb is safe to repeat, so clients lose nothing by a cancelled call.
func (s *Server) Stop(ctx context.Context) {
	s.once.Do(func() { close(s.closing) })
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
	}
}
