package server

import (
	"context"
	"net/netip"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/events"
	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/stats"
)

// Pods is what the server needs of agent/pods.
type Pods interface {
	Run(ctx context.Context, cfg *runtimeapi.PodSandboxConfig, handler string) (id string, err error)
	Stop(ctx context.Context, id string) error
	Remove(ctx context.Context, id string) error
	Update(ctx context.Context, id string, overhead, resources *runtimeapi.LinuxContainerResources) error
	Get(id string) (*pods.Pod, error)
	List() []*pods.Pod
}

// Containers is what the server needs of agent/containers.
type Containers interface {
	Create(ctx context.Context, podID string, cfg *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) (id string, err error)
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, id string, grace time.Duration) error
	Remove(ctx context.Context, id string) error
	Get(id string) (*containers.Container, error)
	List() []*containers.Container
	Update(ctx context.Context, id string, r *runtimeapi.LinuxContainerResources, annotations map[string]string) error
	ReopenLog(ctx context.Context, id string) error
	// Spec is the runtime-spec that the container was made from; fs.ErrNotExist before it is made.
	Spec(id string) (*specs.Spec, error)
	ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, code int32, err error)
}

// Images is what the server needs of agent/images.
type Images interface {
	Pull(ctx context.Context, ref string, auth *images.Auth, p images.Progress) (*images.Image, error)
	Get(ref string) (*images.Image, error)
	List() []*images.Image
	Remove(ctx context.Context, ref string) error
	FSInfo() (images.FSInfo, error)
}

// Stats is what the server needs of agent/stats.
type Stats interface {
	Container(ctx context.Context, id string) (*stats.Container, error)
	Containers(ctx context.Context, filter func(*containers.Container) bool) ([]stats.Container, error)
	Pod(ctx context.Context, id string) (*stats.Pod, error)
	Pods(ctx context.Context, filter func(*pods.Pod) bool) ([]stats.Pod, error)
	Details(ctx context.Context) (*stats.Details, error)
}

// Events is what the server needs of agent/events.
type Events interface {
	Subscribe() *events.Reader
}

// Node answers for the machine.
type Node interface {
	// RuntimeReady and NetworkReady return nil, or why no container can be run, or no pod
	// be connected, now. Both answer at once.
	RuntimeReady() error
	NetworkReady() error
	// SetPodCIDR tells the network which addresses kubelet gives to this node's pods.
	SetPodCIDR(ctx context.Context, cidrs []netip.Prefix) error
}

// Streams prepares streaming endpoints (cri/streaming). Requests carry full ids.
type Streams interface {
	GetExec(*runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error)
	GetAttach(*runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error)
	GetPortForward(*runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error)
}
