package server

import (
	"context"
	"testing"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// FuzzRequests feeds messages as a client could send them through the whole door. A
// panic anywhere would come back as Internal, and the fakes never fail otherwise.
func FuzzRequests(f *testing.F) {
	for _, m := range []proto.Message{
		&runtimeapi.RunPodSandboxRequest{Config: podConfig()},
		&runtimeapi.CreateContainerRequest{PodSandboxId: "podready", Config: containerConfig(), SandboxConfig: podConfig()},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	n, o := services()
	o.Log.SetLevel(logrus.PanicLevel)
	s, err := New(o)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, try := range map[string]func() error{
			"RunPodSandbox": func() error {
				return through(s, b, &runtimeapi.RunPodSandboxRequest{}, s.RunPodSandbox)
			},
			"CreateContainer": func() error {
				return through(s, b, &runtimeapi.CreateContainerRequest{}, s.CreateContainer)
			},
			"UpdateContainerResources": func() error {
				return through(s, b, &runtimeapi.UpdateContainerResourcesRequest{}, s.UpdateContainerResources)
			},
		} {
			if err := try(); status.Code(err) == codes.Internal {
				t.Errorf("%s: %v", name, err)
			}
		}
		n.take()
	})
}

func through[Req proto.Message, Resp any](s *Server, b []byte, req Req, call func(context.Context, Req) (Resp, error)) error {
	if err := proto.Unmarshal(b, req); err != nil {
		return nil // gRPC refuses it before the interceptor
	}
	_, err := s.unary(context.Background(), req, &grpc.UnaryServerInfo{FullMethod: "/fuzz/Fuzz"},
		func(ctx context.Context, req any) (any, error) { return call(ctx, req.(Req)) })
	return err
}
