// Package containers owns the containers: records, snapshots, operation slots, and the
// verbs Create, Start, Stop, Remove, Update, Exec, Attach and ReopenLog.
package containers

import (
	"io"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Container is an immutable snapshot of a container; whoever holds one may read it for ever.
type Container struct {
	ID           string
	PodID        string
	Config       *runtimeapi.ContainerConfig // as requested, with updated resources
	State        lifecycle.ContainerState
	ImageID      string // "sha256:…" of the image's configuration
	ImageRef     string // repo digest, for ContainerStatus.image_ref; the id where there is none
	LogPath      string // absolute, "" for none
	CgroupPath   string
	Pid          int
	CreatedAt    time.Time
	StartedAt    time.Time
	FinishedAt   time.Time
	ExitCode     int
	Reason       string // "Completed", "Error", "OOMKilled", "StartError", "Unknown"
	Message      string
	User         *runtimeapi.ContainerUser
	StopSignal   string
	RestartCount uint32
}

// Size is a terminal's size.
type Size struct{ Rows, Cols uint16 }

// Streams are the ends of an exec or attach. Nil streams are not connected; Resize may be nil.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.WriteCloser
	TTY            bool
	Resize         <-chan Size
}

// Service (implemented by *Containers):
//
//	Create(ctx, podID string, cfg *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) (id string, err error)
//	Start(ctx, id string) error
//	Stop(ctx, id string, grace time.Duration) error // unknown id: nil
//	Remove(ctx, id string) error                    // unknown id: nil; forces
//	Get(id string) (*Container, error)              // id or unique prefix
//	List() []*Container
//	Update(ctx, id string, r *runtimeapi.LinuxContainerResources, annotations map[string]string) error
//	ReopenLog(ctx, id string) error
//	ExecSync(ctx, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, code int32, err error)
//	Exec(ctx, id string, cmd []string, s Streams) (code int, err error)
//	Attach(ctx, id string, s Streams) error
