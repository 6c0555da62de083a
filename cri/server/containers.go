package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/cri/convert"
)

// CreateContainer makes a container in a ready pod. The pod's configuration is the one
// that the pod was made with; the copy in the request is for reference only.
func (s *Server) CreateContainer(ctx context.Context, r *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	pod, err := s.Pods.Get(r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	if pod.State != lifecycle.PodReady {
		return nil, fmt.Errorf("pod %s is %s, not ready: %w", pod.ID, pod.State, lifecycle.ErrState)
	}
	id, err := s.Containers.Create(ctx, pod.ID, r.GetConfig(), pod.Config)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.CreateContainerResponse{ContainerId: id}, nil
}

// containerID resolves a prefix, as podID does.
func (s *Server) containerID(id string) string {
	if c, err := s.Containers.Get(id); err == nil {
		return c.ID
	}
	return id
}

// StartContainer starts a created container.
func (s *Server) StartContainer(ctx context.Context, r *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	if err := s.Containers.Start(ctx, s.containerID(r.GetContainerId())); err != nil {
		return nil, err
	}
	return &runtimeapi.StartContainerResponse{}, nil
}

// StopContainer stops a container, by force after the grace period. Repeatable.
func (s *Server) StopContainer(ctx context.Context, r *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	if err := s.Containers.Stop(ctx, s.containerID(r.GetContainerId()), seconds(r.GetTimeout())); err != nil {
		return nil, err
	}
	return &runtimeapi.StopContainerResponse{}, nil
}

// seconds is n seconds, or the longest duration there is where that overflows.
func seconds(n int64) time.Duration {
	if n > int64(math.MaxInt64/time.Second) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Second
}

// RemoveContainer removes a container, by force if it runs. Repeatable.
func (s *Server) RemoveContainer(ctx context.Context, r *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	if err := s.Containers.Remove(ctx, s.containerID(r.GetContainerId())); err != nil {
		return nil, err
	}
	return &runtimeapi.RemoveContainerResponse{}, nil
}

// ListContainers lists the containers that match the filter.
func (s *Server) ListContainers(_ context.Context, r *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	return &runtimeapi.ListContainersResponse{Containers: s.containers(r.GetFilter())}, nil
}

func (s *Server) containers(f *runtimeapi.ContainerFilter) (all []*runtimeapi.Container) {
	match, names := convert.ContainerFilter(f), s.imageNames()
	for _, c := range s.Containers.List() {
		if match(c) {
			all = append(all, convert.Container(c, names))
		}
	}
	return all
}

// imageNames looks names up for one call, each image once.
func (s *Server) imageNames() convert.ImageNames {
	type names struct{ tags, digests []string }
	seen := map[string]names{}
	return func(id string) (tags, digests []string) {
		n, ok := seen[id]
		if !ok {
			if i, err := s.Images.Get(id); err == nil {
				n = names{i.RepoTags, i.RepoDigests}
			}
			seen[id] = n
		}
		return n.tags, n.digests
	}
}

// ContainerStatus describes one container.
func (s *Server) ContainerStatus(_ context.Context, r *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := s.Containers.Get(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.ContainerStatusResponse{Status: convert.ContainerStatus(c, s.imageNames())}
	if r.GetVerbose() {
		spec, err := s.Containers.Spec(c.ID)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if resp.Info, err = convert.ContainerInfo(c, spec); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// UpdateContainerResources changes a container's limits.
func (s *Server) UpdateContainerResources(ctx context.Context, r *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	id := s.containerID(r.GetContainerId())
	if err := s.Containers.Update(ctx, id, r.GetLinux(), r.GetAnnotations()); err != nil {
		return nil, err
	}
	return &runtimeapi.UpdateContainerResourcesResponse{}, nil
}

// ReopenContainerLog opens the log file anew after its rotation.
func (s *Server) ReopenContainerLog(ctx context.Context, r *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	if err := s.Containers.ReopenLog(ctx, s.containerID(r.GetContainerId())); err != nil {
		return nil, err
	}
	return &runtimeapi.ReopenContainerLogResponse{}, nil
}
