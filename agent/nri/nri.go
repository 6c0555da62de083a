// Package nri lets plugins of the Node Resource Interface (github.com/containerd/nri) see pods and
// containers, change what is created and update what runs. It implements the Hooks that agent/pods and
// agent/containers declare; those own the state, and what a plugin asks for is carried out by them.
// It is no plugin and has no policy.
//
// Locking: the gate keeps a late plugin's synchronization apart from what hooks tell and lists show (gate.go);
// adaptation relays one event at a time. Nothing here is held while a pod's or container's slot is waited for.
package nri

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/status"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
)

// maxSocketPath is what fits into sockaddr_un with its NUL (unix(7)).
const maxSocketPath = 107

// Pods is what is asked of the pods.
type Pods interface {
	Get(id string) (*pods.Pod, error)
	List() []*pods.Pod
}

// Containers is what is asked of the containers.
type Containers interface {
	Get(id string) (*containers.Container, error)
	List() []*containers.Container
	Spec(id string) (*specs.Spec, error)
	// Adjust changes the limits of a created or running container without telling any hook.
	Adjust(ctx context.Context, id string, r *specs.LinuxResources) error
	Stop(ctx context.Context, id string, grace time.Duration) error
}

// Options are what the operator sets and the machine allows.
type Options struct {
	Socket          string // plugins connect here; its directory is made
	NoSocket        bool   // only pre-installed plugins
	PluginDir       string // executables named NN-NAME, started with the agent
	PluginConfigDir string // NN-NAME.conf or NAME.conf for them
	// RegistrationTimeout and RequestTimeout bound what a plugin takes; they hold for the whole process.
	RegistrationTimeout, RequestTimeout time.Duration

	Version     string // of the agent, told to plugins
	Swap        bool   // swap is accounted
	OOMScoreMin int    // the lowest oom_score_adj that may be set
	// InjectCDI puts the named CDI devices into a spec; nil = unsupported.
	InjectCDI func(*specs.Spec, []string) error
	Log       *logrus.Entry
}

// relay is what is used of adaptation.Adaptation.
type relay interface {
	Start() error
	Stop()
	BlockPluginSync() *adaptation.PluginSyncBlock
	RunPodSandbox(context.Context, *adaptation.RunPodSandboxRequest) error
	UpdatePodSandbox(context.Context, *adaptation.UpdatePodSandboxRequest) (*adaptation.UpdatePodSandboxResponse, error)
	PostUpdatePodSandbox(context.Context, *adaptation.PostUpdatePodSandboxRequest) error
	StopPodSandbox(context.Context, *adaptation.StopPodSandboxRequest) error
	RemovePodSandbox(context.Context, *adaptation.RemovePodSandboxRequest) error
	CreateContainer(context.Context, *adaptation.CreateContainerRequest) (*adaptation.CreateContainerResponse, error)
	PostCreateContainer(context.Context, *adaptation.PostCreateContainerRequest) error
	StartContainer(context.Context, *adaptation.StartContainerRequest) error
	PostStartContainer(context.Context, *adaptation.PostStartContainerRequest) error
	UpdateContainer(context.Context, *adaptation.UpdateContainerRequest) (*adaptation.UpdateContainerResponse, error)
	PostUpdateContainer(context.Context, *adaptation.PostUpdateContainerRequest) error
	StopContainer(context.Context, *adaptation.StopContainerRequest) (*adaptation.StopContainerResponse, error)
	RemoveContainer(context.Context, *adaptation.RemoveContainerRequest) error
}

// NRI relays events. Use New; it relays nothing before Start.
type NRI struct {
	o          Options
	relay      relay
	gate       gate
	plugins    atomic.Int32
	pods       Pods
	containers Containers
}

var (
	_ pods.Hooks       = (*NRI)(nil)
	_ containers.Hooks = (*NRI)(nil)
)

// New makes the service; nothing is opened yet.
func New(o Options) (*NRI, error) {
	n := &NRI{o: o}
	logTo(o.Log)
	adaptation.SetPluginRegistrationTimeout(o.RegistrationTimeout)
	adaptation.SetPluginRequestTimeout(o.RequestTimeout)
	opts := []adaptation.Option{
		adaptation.WithPluginPath(o.PluginDir), adaptation.WithPluginConfigPath(o.PluginConfigDir),
		adaptation.WithMetrics(counter{n}),
	}
	if why := n.noSocket(); why != "" {
		if !o.NoSocket {
			o.Log.WithField("socket", o.Socket).Warn("NRI: plugins cannot connect: " + why)
		}
		n.o.NoSocket = true
		opts = append(opts, adaptation.WithDisabledExternalConnections())
	} else {
		opts = append(opts, adaptation.WithSocketPath(o.Socket))
	}
	a, err := adaptation.New("slipway", o.Version, n.synchronize, n.unsolicited, opts...)
	if err != nil {
		return nil, fmt.Errorf("NRI: %w", err)
	}
	n.setRelay(a)
	return n, nil
}

func (n *NRI) setRelay(r relay) {
	n.relay = r
	n.gate.block = func() func() {
		b := r.BlockPluginSync()
		return b.Unblock
	}
}

// noSocket says why no socket is to be opened, "" if one is. The socket of another runtime that is alive is not
// taken away from it.
func (n *NRI) noSocket() string {
	switch {
	case n.o.NoSocket:
		return "disabled"
	case len(n.o.Socket) > maxSocketPath:
		return fmt.Sprintf("the path is longer than %d bytes; set nri.socket", maxSocketPath)
	}
	conn, err := net.Dial("unix", n.o.Socket)
	if err != nil {
		return ""
	}
	_ = conn.Close()
	return "another runtime listens there; set nri.socket"
}

// Start starts the pre-installed plugins, tells them what there is, and listens for others. Both collections
// must be complete: recovery is done.
func (n *NRI) Start(p Pods, c Containers) error {
	n.pods, n.containers = p, c
	if err := n.relay.Start(); err != nil {
		return fmt.Errorf("NRI: %w", err)
	}
	if n.o.NoSocket {
		return nil
	}
	if err := os.Chmod(n.o.Socket, 0o600); err != nil { // who connects may change every container
		n.relay.Stop()
		return fmt.Errorf("NRI: %w", err)
	}
	return nil
}

// Close ends the plugins that Start started, and the listening. The others see the connection's end with the process.
func (n *NRI) Close() error {
	n.relay.Stop()
	if n.o.NoSocket {
		return nil
	}
	if err := os.Remove(n.o.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Enter implements pods.Hooks and containers.Hooks.
func (n *NRI) Enter(first bool) (leave func()) { return n.gate.enter(first) }

// idle says that nobody listens; meaningful while the gate is held.
func (n *NRI) idle() bool { return n.plugins.Load() == 0 }

// podOf finds the pod that a container's events name beside it.
func (n *NRI) podOf(v *containers.Container) (*adaptation.PodSandbox, error) {
	p, err := n.pods.Get(v.PodID)
	if err != nil {
		return nil, err
	}
	return podMessage(p), nil
}

// refused is the error of an event. A plugin's own is a status of its connection, whose code says nothing to the
// agent's caller: the pod or container is not in a state that all plugins accept.
func refused(event string, err error) error {
	var own interface{ GRPCStatus() *status.Status }
	if errors.As(err, &own) {
		return fmt.Errorf("NRI %s: a plugin refused: %s: %w", event, own.GRPCStatus().Message(), lifecycle.ErrState)
	}
	return fmt.Errorf("NRI %s: %w", event, err)
}

// counter keeps the number of plugins.
type counter struct{ n *NRI }

func (counter) RecordPluginInvocation(string, string, error)                                      {}
func (counter) RecordPluginLatency(string, string, time.Duration)                                 {}
func (counter) RecordPluginAdjustments(string, string, *adaptation.ContainerAdjustment, int, int) {}

func (c counter) UpdatePluginCount(count int) {
	if old := c.n.plugins.Swap(int32(count)); old != int32(count) {
		c.n.o.Log.WithField("plugins", count).Info("NRI: plugins came or went")
	}
}
