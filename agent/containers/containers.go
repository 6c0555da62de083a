// Package containers owns the containers: records, snapshots, operation slots, and the
// verbs Create, Start, Stop, Remove, Update, Exec, Attach and ReopenLog.
package containers

import (
	"io"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/steps"
)

// Container is an immutable snapshot of a container; whoever holds one may read it for ever.
type Container struct {
	ID       string
	PodID    string
	Config   *runtimeapi.ContainerConfig // as requested, with updated resources
	State    lifecycle.ContainerState
	ImageID  string // "sha256:…" of the image's configuration
	ImageRef string // repo digest, for ContainerStatus.image_ref; the id where there is none
	// VolumeImages are the images of Config.Mounts that mount one.
	VolumeImages []VolumeImage
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
	RequestSum   string       // of the request where hooks changed Config at the creation, else ""
	Timeline     []steps.Took // of its creation, from CreatedAt
	// StartCalled is when the last start began, StartTimeline what its steps took.
	StartCalled   time.Time
	StartTimeline []steps.Took
}

// VolumeImage is the image behind Config.Mounts[Mount].
type VolumeImage struct {
	Mount int
	ID    string
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
