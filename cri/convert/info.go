package convert

import (
	"encoding/json"
	"fmt"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/steps"
)

// Verbose info is a map of names to JSON; crictl inspect prints it. Names in the
// documents follow what crictl's users know from other runtimes ("pid", "config" …).

type podInfo struct {
	Pid            int                          `json:"pid"`
	NetNS          string                       `json:"networkNamespace,omitempty"`
	IPCNS          string                       `json:"ipcNamespace,omitempty"`
	UTSNS          string                       `json:"utsNamespace,omitempty"`
	CgroupPath     string                       `json:"cgroupPath,omitempty"`
	RuntimeHandler string                       `json:"runtimeHandler"`
	State          string                       `json:"state"`
	HostInterface  string                       `json:"hostInterface,omitempty"`
	NetworkResult  json.RawMessage              `json:"cniResult,omitempty"`
	CreatedAt      time.Time                    `json:"createdAt"`
	Timeline       []steps.Took                 `json:"timeline,omitempty"` // nanoseconds since createdAt
	Config         *runtimeapi.PodSandboxConfig `json:"config"`
}

// PodInfo is the verbose info of a pod.
func PodInfo(p *pods.Pod) (map[string]string, error) {
	i := podInfo{
		Pid: p.PID, NetNS: p.NetNS, IPCNS: p.IPCNS, UTSNS: p.UTSNS,
		CgroupPath: p.CgroupPath, RuntimeHandler: p.RuntimeHandler,
		State: string(p.State), CreatedAt: p.CreatedAt, Timeline: p.Timeline, Config: p.Config,
	}
	if n := p.Network; n != nil {
		i.HostInterface = n.HostIface
		if json.Valid(n.Raw) {
			i.NetworkResult = n.Raw
		}
	}
	return Document("info", i)
}

type containerInfo struct {
	SandboxID  string       `json:"sandboxID"`
	Pid        int          `json:"pid"`
	State      string       `json:"state"`
	CgroupPath string       `json:"cgroupPath,omitempty"`
	StopSignal string       `json:"stopSignal,omitempty"`
	CreatedAt  time.Time    `json:"createdAt"`
	Timeline   []steps.Took `json:"timeline,omitempty"` // of the creation, nanoseconds since createdAt
	// The last start, nanoseconds since startCalled.
	StartCalled   time.Time                   `json:"startCalled,omitzero"`
	StartTimeline []steps.Took                `json:"startTimeline,omitempty"`
	Config        *runtimeapi.ContainerConfig `json:"config"`
	Spec          *specs.Spec                 `json:"runtimeSpec,omitempty"`
}

// ContainerInfo is the verbose info of a container; spec may be nil.
func ContainerInfo(c *containers.Container, spec *specs.Spec) (map[string]string, error) {
	return Document("info", containerInfo{
		SandboxID: c.PodID, Pid: c.Pid, State: string(c.State), CgroupPath: c.CgroupPath,
		StopSignal: c.StopSignal, CreatedAt: c.CreatedAt, Timeline: c.Timeline,
		StartCalled: c.StartCalled, StartTimeline: c.StartTimeline, Config: c.Config, Spec: spec,
	})
}

type imageInfo struct {
	Spec ocispec.Image `json:"imageSpec"`
}

// ImageInfo is the verbose info of an image.
func ImageInfo(i *images.Image) (map[string]string, error) {
	return Document("info", imageInfo{Spec: i.Config})
}

// Document is a verbose info map with one entry: v as JSON under name.
func Document(name string, v any) (map[string]string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("verbose %s: %w", name, err)
	}
	return map[string]string{name: string(b)}, nil
}
