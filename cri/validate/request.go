package validate

import (
	"net/netip"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Request judges any CRI request; messages that it does not know pass. The error is an
// *Error and thus a lifecycle.ErrInvalid.
func Request(req any) error {
	var c checker
	switch r := req.(type) {
	case *runtimeapi.RunPodSandboxRequest:
		c.sandbox("config", r.GetConfig())
		c.text("runtime_handler", r.GetRuntimeHandler(), maxName)
	case *runtimeapi.CreateContainerRequest:
		c.createContainer(r)
	case *runtimeapi.StopContainerRequest:
		c.id("container_id", r.GetContainerId())
		c.atLeast("timeout", r.GetTimeout(), 0)
	case *runtimeapi.UpdateContainerResourcesRequest:
		c.id("container_id", r.GetContainerId())
		c.resources("linux", r.GetLinux())
		c.windows("windows", r.GetWindows() != nil)
		c.annotations("annotations", r.GetAnnotations())
	case *runtimeapi.UpdateRuntimeConfigRequest:
		c.podCIDR("runtime_config.network_config.pod_cidr", r.GetRuntimeConfig().GetNetworkConfig().GetPodCidr())
	case *runtimeapi.PullImageRequest:
		c.imageSpec("image", r.GetImage())
		c.auth("auth", r.GetAuth())
		// Nothing of it is used, and people's clients send half of one.
		if cfg := r.GetSandboxConfig(); cfg.GetMetadata() != nil {
			c.sandbox("sandbox_config", cfg)
		} else {
			c.sandboxBody("sandbox_config", cfg)
		}
	case imageRequest:
		c.imageSpec("image", r.GetImage())
	case filtered[*runtimeapi.PodSandboxFilter]:
		c.filter(r.GetFilter().GetId(), "", r.GetFilter().GetLabelSelector())
		c.enum("filter.state.state", int32(r.GetFilter().GetState().GetState()), runtimeapi.PodSandboxState_name)
	case filtered[*runtimeapi.ContainerFilter]:
		c.filter(r.GetFilter().GetId(), r.GetFilter().GetPodSandboxId(), r.GetFilter().GetLabelSelector())
		c.enum("filter.state.state", int32(r.GetFilter().GetState().GetState()), runtimeapi.ContainerState_name)
	case filtered[*runtimeapi.PodSandboxStatsFilter]:
		c.filter(r.GetFilter().GetId(), "", r.GetFilter().GetLabelSelector())
	case filtered[*runtimeapi.ContainerStatsFilter]:
		c.filter(r.GetFilter().GetId(), r.GetFilter().GetPodSandboxId(), r.GetFilter().GetLabelSelector())
	case filtered[*runtimeapi.ImageFilter]:
		c.imageFilter("filter.image", r.GetFilter().GetImage())
	case *runtimeapi.UpdatePodSandboxResourcesRequest:
		c.id("pod_sandbox_id", r.GetPodSandboxId())
		c.overhead("overhead", r.GetOverhead())
		c.podResources("resources", r.GetResources())
	default:
		c.checkpoint(req)
		c.stream(req)
		c.ids(req)
	}
	return c.result()
}

func (c *checker) createContainer(r *runtimeapi.CreateContainerRequest) {
	c.id("pod_sandbox_id", r.GetPodSandboxId())
	c.container("config", r.GetConfig())
	// The pod keeps its own copy, so this one may be left out.
	if r.GetSandboxConfig() != nil {
		c.sandbox("sandbox_config", r.GetSandboxConfig())
	}
}

// filtered is a list's request, and the request of the stream beside it.
type filtered[F any] interface{ GetFilter() F }

type podRequest interface{ GetPodSandboxId() string }
type containerRequest interface{ GetContainerId() string }

// ids judges requests that are little more than an id.
func (c *checker) ids(req any) {
	switch r := req.(type) {
	case podRequest:
		c.id("pod_sandbox_id", r.GetPodSandboxId())
	case containerRequest:
		c.id("container_id", r.GetContainerId())
	}
}

type streams interface {
	GetTty() bool
	GetStdin() bool
	GetStdout() bool
	GetStderr() bool
}

// stream judges Exec, Attach, ExecSync and PortForward beside their ids.
func (c *checker) stream(req any) {
	switch r := req.(type) {
	case *runtimeapi.ExecSyncRequest:
		c.command(r.GetCmd())
		c.atLeast("timeout", r.GetTimeout(), 0)
	case *runtimeapi.ExecRequest:
		c.command(r.GetCmd())
		c.stdio(r)
	case *runtimeapi.AttachRequest:
		c.stdio(r)
	case *runtimeapi.PortForwardRequest:
		for i, p := range r.GetPort() {
			c.between(at("port", i), int64(p), 1, 65535)
		}
	}
}

func (c *checker) stdio(s streams) {
	if s.GetTty() && s.GetStderr() {
		c.fail("stderr", "not with tty: a terminal has one output")
	}
	if !s.GetStdin() && !s.GetStdout() && !s.GetStderr() {
		c.fail("stdout", "one of stdin, stdout and stderr is required")
	}
}

func (c *checker) command(cmd []string) {
	if len(cmd) == 0 || cmd[0] == "" {
		c.fail("cmd", "empty")
	}
	for i, a := range cmd {
		c.noNUL(at("cmd", i), a)
	}
}

// imageRequest is ImageStatus and RemoveImage.
type imageRequest interface{ GetImage() *runtimeapi.ImageSpec }

// filter judges a list's filter, in which everything may be empty.
func (c *checker) filter(id, pod string, selector map[string]string) {
	c.text("filter.id", id, maxID)
	c.text("filter.pod_sandbox_id", pod, maxID)
	c.labels("filter.label_selector", selector)
}

func (c *checker) podCIDR(field, list string) {
	if list == "" {
		return
	}
	for s := range strings.SplitSeq(list, ",") {
		if p, err := netip.ParsePrefix(strings.TrimSpace(s)); err != nil || p != p.Masked() {
			c.fail(field, "%q is no network such as 10.88.0.0/16", s)
		}
	}
}
