// Package extension is the gRPC service slipway.v1.Node: what the client verbs need and
// CRI does not have. Pull with progress, Load and Save of archives, and Down. It is registered
// beside CRI's services on the same socket, so the same file mode guards it.
//
// Messages are protobuf's well-known BytesValue: JSON documents (the types of this package), and in Load and
// Save pieces of the archive. So it needs no generated code, and grpcurl can still call it.
//
// It keeps no state and takes no lock; errors keep their kind for the server's interceptor.
package extension

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// ServiceName is the service's name on the wire.
const ServiceName = "slipway.v1.Node"

// chunk is the size of an archive's pieces: large enough that a message costs little, far below the
// 16 MiB limit of CRI sockets.
const chunk = 256 << 10

// Images is the part of images.Service that is behind the service.
type Images interface {
	Pull(ctx context.Context, ref string, auth *images.Auth, p images.Progress) (*images.Image, error)
	Load(ctx context.Context, r io.Reader) ([]*images.Image, error)
	Save(ctx context.Context, w io.Writer, refs ...string) error
}

// Server is what Register serves. Down begins to stop every pod, the monitor and the agent; it
// returns once that is decided, since the connection ends with the agent.
type Server struct {
	Images Images
	Down   func(ctx context.Context) error
}

// PullRequest asks for an image.
type PullRequest struct {
	Ref  string
	Auth *images.Auth `json:",omitempty"`
}

// PullEvent is a step of a pull or, last, its result.
type PullEvent struct {
	Step  *images.Step `json:",omitempty"`
	Image *Image       `json:",omitempty"`
}

// SaveRequest names the images of an archive.
type SaveRequest struct{ Refs []string }

// Image is an image as the client verbs show it.
type Image struct {
	ID                    string
	RepoTags, RepoDigests []string
	Size                  int64 // bytes
}

func toImage(i *images.Image) Image {
	return Image{ID: i.ID, RepoTags: i.RepoTags, RepoDigests: i.RepoDigests, Size: i.Size}
}

// Register adds the service to s, before it serves.
func Register(s grpc.ServiceRegistrar, srv *Server) {
	s.RegisterService(&desc, srv)
}

var desc = grpc.ServiceDesc{
	ServiceName: ServiceName,
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Down", Handler: down}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Pull", Handler: pull, ServerStreams: true},
		{StreamName: "Load", Handler: load, ClientStreams: true},
		{StreamName: "Save", Handler: save, ServerStreams: true},
	},
	Metadata: "slipway/v1/node.proto",
}

func down(srv any, ctx context.Context, dec func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	in := new(wrapperspb.BytesValue)
	if err := dec(in); err != nil {
		return nil, err
	}
	s := srv.(*Server)
	handle := func(ctx context.Context, _ any) (any, error) {
		if s.Down == nil {
			return nil, fmt.Errorf("down: %w", lifecycle.ErrUnsupported)
		}
		return &wrapperspb.BytesValue{}, s.Down(ctx)
	}
	if intercept == nil {
		return handle(ctx, in)
	}
	return intercept(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/" + ServiceName + "/Down"}, handle)
}

// messages is what client and server streams have in common.
type messages interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

func sendJSON(s messages, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.SendMsg(wrapperspb.Bytes(b))
}

func recvJSON(s messages, v any) error {
	m := new(wrapperspb.BytesValue)
	if err := s.RecvMsg(m); err != nil {
		return err
	}
	if err := json.Unmarshal(m.GetValue(), v); err != nil {
		return fmt.Errorf("%w: %w", err, lifecycle.ErrInvalid)
	}
	return nil
}
