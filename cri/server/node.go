package server

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/cri/convert"
	"github.com/slipway-cri/slipway/cri/validate"
)

const (
	runtimeName = "slipway"
	// kubeletAPIVersion is CRI's own constant for VersionResponse.version; kubelet checks it.
	kubeletAPIVersion = "0.1.0"
	criVersion        = "v1"
)

// Version names the runtime and its versions.
func (s *Server) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version:           kubeletAPIVersion,
		RuntimeName:       runtimeName,
		RuntimeVersion:    s.Options.Version,
		RuntimeApiVersion: criVersion,
	}, nil
}

// Status tells whether containers can be run and pods be connected, and what the
// handlers can do.
func (s *Server) Status(_ context.Context, r *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	resp := &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
			condition(runtimeapi.RuntimeReady, "RuntimeNotReady", s.Node.RuntimeReady()),
			condition(runtimeapi.NetworkReady, "NetworkNotReady", s.Node.NetworkReady()),
		}},
		Features: &runtimeapi.RuntimeFeatures{
			SupplementalGroupsPolicy:  s.Features.SupplementalGroupsPolicy,
			UserNamespacesHostNetwork: s.Features.UserNamespacesHostNetwork,
			MountOptions:              s.Features.MountOptions,
		},
	}
	for _, h := range s.Handlers {
		resp.RuntimeHandlers = append(resp.RuntimeHandlers, &runtimeapi.RuntimeHandler{
			Name: h.Name,
			Features: &runtimeapi.RuntimeHandlerFeatures{
				RecursiveReadOnlyMounts: h.RecursiveReadOnlyMounts,
				UserNamespaces:          h.UserNamespaces,
			},
		})
	}
	if r.GetVerbose() {
		var err error
		if resp.Info, err = convert.Document("config", s.Config); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

func condition(name, reason string, err error) *runtimeapi.RuntimeCondition {
	if err == nil {
		return &runtimeapi.RuntimeCondition{Type: name, Status: true}
	}
	return &runtimeapi.RuntimeCondition{Type: name, Reason: reason, Message: err.Error()}
}

// RuntimeConfig tells kubelet which cgroup driver to use.
func (s *Server) RuntimeConfig(context.Context, *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	driver := runtimeapi.CgroupDriver_CGROUPFS
	if s.SystemdCgroup {
		driver = runtimeapi.CgroupDriver_SYSTEMD
	}
	return &runtimeapi.RuntimeConfigResponse{
		Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: driver},
	}, nil
}

// UpdateRuntimeConfig takes the node's pod CIDRs, one or more separated by commas; an empty
// one changes nothing.
func (s *Server) UpdateRuntimeConfig(ctx context.Context, r *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	list := r.GetRuntimeConfig().GetNetworkConfig().GetPodCidr()
	if list == "" {
		return &runtimeapi.UpdateRuntimeConfigResponse{}, nil
	}
	var cidrs []netip.Prefix
	for word := range strings.SplitSeq(list, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(word))
		if err != nil {
			return nil, &validate.Error{Field: "runtime_config.network_config.pod_cidr", Reason: err.Error()}
		}
		cidrs = append(cidrs, p)
	}
	if err := s.Node.SetPodCIDR(ctx, cidrs); err != nil {
		return nil, fmt.Errorf("pod CIDR %s: %w", list, err)
	}
	return &runtimeapi.UpdateRuntimeConfigResponse{}, nil
}
