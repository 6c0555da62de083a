package server

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The Stream calls (KEP-5825) give what the List calls beside them give, in messages of a bounded
// size: a node of many pods does not meet gRPC's limit. An empty list is no message at all.

// Bounds of one message: a tenth of what a client takes, and few enough that a caller who leaves is noticed.
const (
	chunkItems = 512
	chunkBytes = maxMessage / 10
)

// sendChunks sends items in their order until ctx ends.
func sendChunks[T proto.Message](ctx context.Context, items []T, send func([]T) error) error {
	for len(items) > 0 {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n := fitting(items)
		if err := send(items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

// fitting is how many of the items go into one message: one at least, whatever its size.
func fitting[T proto.Message](items []T) int {
	size := 0
	for i, item := range items {
		size += proto.Size(item)
		if i > 0 && (size > chunkBytes || i == chunkItems) {
			return i
		}
	}
	return len(items)
}

// StreamPodSandboxes is ListPodSandbox in chunks.
func (s *Server) StreamPodSandboxes(r *runtimeapi.StreamPodSandboxesRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxesResponse]) error {
	return sendChunks(stream.Context(), s.podSandboxes(r.GetFilter()), func(part []*runtimeapi.PodSandbox) error {
		return stream.Send(&runtimeapi.StreamPodSandboxesResponse{PodSandboxes: part})
	})
}

// StreamContainers is ListContainers in chunks.
func (s *Server) StreamContainers(r *runtimeapi.StreamContainersRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamContainersResponse]) error {
	return sendChunks(stream.Context(), s.containers(r.GetFilter()), func(part []*runtimeapi.Container) error {
		return stream.Send(&runtimeapi.StreamContainersResponse{Containers: part})
	})
}

// StreamContainerStats is ListContainerStats in chunks.
func (s *Server) StreamContainerStats(r *runtimeapi.StreamContainerStatsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamContainerStatsResponse]) error {
	all, err := s.containerStats(stream.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return sendChunks(stream.Context(), all, func(part []*runtimeapi.ContainerStats) error {
		return stream.Send(&runtimeapi.StreamContainerStatsResponse{ContainerStats: part})
	})
}

// StreamPodSandboxStats is ListPodSandboxStats in chunks.
func (s *Server) StreamPodSandboxStats(r *runtimeapi.StreamPodSandboxStatsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxStatsResponse]) error {
	all, err := s.podStats(stream.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return sendChunks(stream.Context(), all, func(part []*runtimeapi.PodSandboxStats) error {
		return stream.Send(&runtimeapi.StreamPodSandboxStatsResponse{PodSandboxStats: part})
	})
}

// StreamImages is ListImages in chunks.
func (s *Server) StreamImages(r *runtimeapi.StreamImagesRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamImagesResponse]) error {
	all, err := s.imageList(r.GetFilter())
	if err != nil {
		return err
	}
	return sendChunks(stream.Context(), all, func(part []*runtimeapi.Image) error {
		return stream.Send(&runtimeapi.StreamImagesResponse{Images: part})
	})
}
