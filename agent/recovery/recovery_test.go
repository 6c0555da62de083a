package recovery

import (
	"testing"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/runtime"
)

func TestContainer(t *testing.T) {
	gone := (*runtime.Live)(nil)
	waiting := &runtime.Live{Pid: 7}
	running := &runtime.Live{Pid: 7, Running: true}
	exited := &runtime.Live{Exit: &runtime.Exit{Code: 3}}
	for _, c := range []struct {
		state                          lifecycle.ContainerState
		gone, waiting, running, exited Action
	}{
		{lifecycle.ContainerCreating, Undo, Undo, Undo, Undo},
		{lifecycle.ContainerCreated, Lost, Waiting, Running, Exited},
		{lifecycle.ContainerStarting, Lost, Waiting, Running, Exited},
		{lifecycle.ContainerRunning, Lost, Waiting, Running, Exited},
		{lifecycle.ContainerExited, Keep, Reclaim, Reclaim, Reclaim},
		{lifecycle.ContainerRemoving, Remove, Remove, Remove, Remove},
	} {
		for _, l := range []struct {
			live *runtime.Live
			want Action
		}{{gone, c.gone}, {waiting, c.waiting}, {running, c.running}, {exited, c.exited}} {
			if got := Container(c.state, l.live); got != l.want {
				t.Errorf("%s with %+v: %s, want %s", c.state, l.live, got, l.want)
			}
		}
	}
}
