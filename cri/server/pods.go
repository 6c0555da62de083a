package server

import (
	"context"
	"fmt"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/events"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/cri/convert"
	"github.com/slipway-cri/slipway/cri/validate"
)

// RunPodSandbox makes a pod and returns when it is ready.
func (s *Server) RunPodSandbox(ctx context.Context, r *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	h, err := s.handler("runtime_handler", r.GetRuntimeHandler())
	if err != nil {
		return nil, err
	}
	if wantsUserns(r.GetConfig()) && !h.UserNamespaces {
		return nil, fmt.Errorf("config.linux.security_context.namespace_options.userns_options: user namespaces: %w", lifecycle.ErrUnsupported)
	}
	id, err := s.Pods.Run(ctx, r.GetConfig(), r.GetRuntimeHandler())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: id}, nil
}

// handler finds a runtime handler; field names the request's field in the error.
func (s *Server) handler(field, name string) (Handler, error) {
	for _, h := range s.Handlers {
		if h.Name == name {
			return h, nil
		}
	}
	return Handler{}, &validate.Error{Field: field, Reason: fmt.Sprintf("no runtime handler %q on this node", name)}
}

// wantsUserns: mode POD without mappings is what a zero message says, and asks for nothing.
func wantsUserns(cfg *runtimeapi.PodSandboxConfig) bool {
	u := cfg.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions()
	return u.GetMode() == runtimeapi.NamespaceMode_POD && len(u.GetUids())+len(u.GetGids()) > 0
}

// podID resolves a prefix. An id that nobody knows stays as it is: the service says
// what that means for its verb, and may still know the id from an operation under way.
func (s *Server) podID(id string) string {
	if p, err := s.Pods.Get(id); err == nil {
		return p.ID
	}
	return id
}

// StopPodSandbox stops the pod's containers and takes its network away. Repeatable.
func (s *Server) StopPodSandbox(ctx context.Context, r *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	if err := s.Pods.Stop(ctx, s.podID(r.GetPodSandboxId())); err != nil {
		return nil, err
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

// RemovePodSandbox removes the pod and all that is in it, by force. Repeatable.
func (s *Server) RemovePodSandbox(ctx context.Context, r *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	if err := s.Pods.Remove(ctx, s.podID(r.GetPodSandboxId())); err != nil {
		return nil, err
	}
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

// PodSandboxStatus describes one pod and its containers. The timestamp, which a kubelet compares with
// those of events, is of before the snapshots were taken: an event may only be newer than they are.
func (s *Server) PodSandboxStatus(_ context.Context, r *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	at := time.Now()
	p, err := s.Pods.Get(r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.PodSandboxStatusResponse{Status: convert.PodSandboxStatus(p), Timestamp: at.UnixNano()}
	names := s.imageNames()
	for _, c := range events.Inside(s.Containers.List(), p.ID) {
		if convert.ContainerListed(c) {
			resp.ContainersStatuses = append(resp.ContainersStatuses, convert.ContainerStatus(c, names))
		}
	}
	if r.GetVerbose() {
		if resp.Info, err = convert.PodInfo(p); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// UpdatePodSandboxResources takes down what the pod may use in sum. A kubelet calls it once it has changed the
// pod's cgroup; where that is the agent's own, the agent changes it.
func (s *Server) UpdatePodSandboxResources(ctx context.Context, r *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	if err := s.Pods.Update(ctx, s.podID(r.GetPodSandboxId()), r.GetOverhead(), r.GetResources()); err != nil {
		return nil, err
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}

// ListPodSandbox lists the pods that match the filter.
func (s *Server) ListPodSandbox(_ context.Context, r *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	return &runtimeapi.ListPodSandboxResponse{Items: s.podSandboxes(r.GetFilter())}, nil
}

func (s *Server) podSandboxes(f *runtimeapi.PodSandboxFilter) (all []*runtimeapi.PodSandbox) {
	match := convert.PodFilter(f)
	for _, p := range s.Pods.List() {
		if match(p) {
			all = append(all, convert.PodSandbox(p))
		}
	}
	return all
}
