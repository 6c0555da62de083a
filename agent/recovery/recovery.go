// Package recovery decides what becomes of a record when the agent starts, given what the
// monitor says of its process. It is pure: agent/containers and agent/pods carry it out.
package recovery

import (
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// Action is what to do with one container.
type Action string

// Actions.
const (
	Undo    Action = "undo"    // its creation was cut off: take everything back
	Waiting Action = "waiting" // it waits at its start gate
	Running Action = "running" // it runs
	Exited  Action = "exited"  // it ended while no agent was there: apply its exit
	Lost    Action = "lost"    // its process is gone and nobody knows how
	Reclaim Action = "reclaim" // recorded as exited, but the monitor still has it
	Remove  Action = "remove"  // its removal was cut off: finish it
	Keep    Action = "keep"    // nothing to do
)

// Container decides for a container recorded as s; live is nil where the monitor knows no such process.
func Container(s lifecycle.ContainerState, live *runtime.Live) Action {
	switch s {
	case lifecycle.ContainerCreating:
		return Undo
	case lifecycle.ContainerRemoving:
		return Remove
	case lifecycle.ContainerExited:
		if live != nil {
			return Reclaim
		}
		return Keep
	}
	switch {
	case live == nil:
		return Lost
	case live.Exit != nil:
		return Exited
	case live.Running:
		return Running
	}
	return Waiting
}
