package server

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/cri/convert"
)

// ContainerStats is one container's usage.
func (s *Server) ContainerStats(ctx context.Context, r *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	st, err := s.Stats.Container(ctx, s.containerID(r.GetContainerId()))
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ContainerStatsResponse{Stats: convert.ContainerStats(st)}, nil
}

// ListContainerStats is the usage of the running containers that match the filter.
func (s *Server) ListContainerStats(ctx context.Context, r *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	all, err := s.containerStats(ctx, r.GetFilter())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ListContainerStatsResponse{Stats: all}, nil
}

func (s *Server) containerStats(ctx context.Context, f *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	list, err := s.Stats.Containers(ctx, convert.ContainerStatsFilter(f))
	if err != nil {
		return nil, err
	}
	all := make([]*runtimeapi.ContainerStats, len(list))
	for i := range list {
		all[i] = convert.ContainerStats(&list[i])
	}
	return all, nil
}

// PodSandboxStats is one pod's usage, with its containers'.
func (s *Server) PodSandboxStats(ctx context.Context, r *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	st, err := s.Stats.Pod(ctx, s.podID(r.GetPodSandboxId()))
	if err != nil {
		return nil, err
	}
	return &runtimeapi.PodSandboxStatsResponse{Stats: convert.PodSandboxStats(st, time.Now())}, nil
}

// ListPodSandboxStats is the usage of the ready pods that match the filter.
func (s *Server) ListPodSandboxStats(ctx context.Context, r *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	all, err := s.podStats(ctx, r.GetFilter())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ListPodSandboxStatsResponse{Stats: all}, nil
}

func (s *Server) podStats(ctx context.Context, f *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	list, err := s.Stats.Pods(ctx, convert.PodStatsFilter(f))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	all := make([]*runtimeapi.PodSandboxStats, len(list))
	for i := range list {
		all[i] = convert.PodSandboxStats(&list[i], now)
	}
	return all, nil
}
