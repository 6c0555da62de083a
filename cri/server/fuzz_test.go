package server

import (
	"context"
	"reflect"
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
		&runtimeapi.UpdateContainerResourcesRequest{ContainerId: "run1", Linux: &runtimeapi.LinuxContainerResources{CpuShares: 2}},
		&runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{Id: "r", LabelSelector: map[string]string{"app": "run1"}}},
		&runtimeapi.ExecSyncRequest{ContainerId: "run1", Cmd: []string{"ls"}, Timeout: 1},
		&runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: "busybox"}, Auth: &runtimeapi.AuthConfig{Username: "u"}},
		&runtimeapi.UpdateRuntimeConfigRequest{RuntimeConfig: &runtimeapi.RuntimeConfig{NetworkConfig: &runtimeapi.NetworkConfig{PodCidr: "10.1.0.0/16"}}},
		&runtimeapi.RestorePodRequest{CheckpointPath: "/c.tar", Config: podConfig(), ContainerConfigs: []*runtimeapi.ContainerConfig{containerConfig()}},
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
		for name, call := range unaryCalls(s) {
			req := call.request()
			if err := proto.Unmarshal(b, req); err != nil {
				continue // gRPC refuses it before the interceptor
			}
			if err := call.through(s, req); status.Code(err) == codes.Internal || status.Code(err) == codes.Unknown {
				t.Errorf("%s: %v", name, err)
			}
		}
		n.take()
	})
}

// unaryCall is one call of the services, found by reflection: what is added to CRI is fuzzed too.
type unaryCall struct{ method reflect.Value }

func unaryCalls(s *Server) map[string]unaryCall {
	calls := map[string]unaryCall{}
	v, message := reflect.ValueOf(s), reflect.TypeFor[proto.Message]()
	for i := range v.NumMethod() {
		m := v.Method(i)
		if t := m.Type(); t.NumIn() == 2 && t.NumOut() == 2 && t.In(1).Implements(message) {
			calls[v.Type().Method(i).Name] = unaryCall{m}
		}
	}
	return calls
}

func (c unaryCall) request() proto.Message {
	return reflect.New(c.method.Type().In(1).Elem()).Interface().(proto.Message)
}

func (c unaryCall) through(s *Server, req proto.Message) error {
	_, err := s.unary(context.Background(), req, &grpc.UnaryServerInfo{FullMethod: "/fuzz/Fuzz"},
		func(ctx context.Context, req any) (any, error) {
			out := c.method.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(req)})
			err, _ := out[1].Interface().(error)
			return out[0].Interface(), err
		})
	return err
}

// Whole requests come through every call without a panic, and the calls are all there.
func TestUnaryCallsAreAllFound(t *testing.T) {
	_, o := services()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	calls, services := unaryCalls(s), runtimeapi.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			name := string(methods.Get(j).Name())
			if _, ok := calls[name]; ok == methods.Get(j).IsStreamingServer() {
				t.Errorf("%s: found %v", name, ok)
			}
		}
	}
}
