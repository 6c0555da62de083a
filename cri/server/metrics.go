package server

import (
	"context"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/stats"
	"github.com/slipway-cri/slipway/cri/metrics"
)

// ListMetricDescriptors lists what ListPodSandboxMetrics may give; it never changes.
func (s *Server) ListMetricDescriptors(context.Context, *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	return &runtimeapi.ListMetricDescriptorsResponse{Descriptors: metrics.Descriptors()}, nil
}

// ListPodSandboxMetrics is every figure of every ready pod and its running containers.
func (s *Server) ListPodSandboxMetrics(ctx context.Context, _ *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	all, err := s.podMetrics(ctx)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ListPodSandboxMetricsResponse{PodMetrics: all}, nil
}

// StreamPodSandboxMetrics is ListPodSandboxMetrics in chunks.
func (s *Server) StreamPodSandboxMetrics(_ *runtimeapi.StreamPodSandboxMetricsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxMetricsResponse]) error {
	all, err := s.podMetrics(stream.Context())
	if err != nil {
		return err
	}
	return sendChunks(stream.Context(), all, func(part []*runtimeapi.PodSandboxMetrics) error {
		return stream.Send(&runtimeapi.StreamPodSandboxMetricsResponse{PodSandboxMetrics: part})
	})
}

func (s *Server) podMetrics(ctx context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	d, err := s.Stats.Details(ctx)
	if err != nil {
		return nil, err
	}
	return metrics.Pods(d, s.imageNames(), time.Now(), deviceNames()), nil
}

// deviceNames looks each block device up once a call.
func deviceNames() func(major, minor uint32) string {
	seen := map[[2]uint32]string{}
	return func(major, minor uint32) string {
		key := [2]uint32{major, minor}
		name, ok := seen[key]
		if !ok {
			name = stats.DeviceName(major, minor)
			seen[key] = name
		}
		return name
	}
}
