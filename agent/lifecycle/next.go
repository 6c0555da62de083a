package lifecycle

import "fmt"

// PodEvent is something that happens to a pod sandbox.
type PodEvent string

// ContainerEvent is something that happens to a container.
type ContainerEvent string

// Events of a pod.
const (
	PodSetUp     PodEvent = "set up"      // namespaces, network and files are there
	PodStop      PodEvent = "stop"        // someone asked
	PodStopped   PodEvent = "stopped"     // everything but the record is given back
	PodRemove    PodEvent = "remove"      // someone asked, or the set-up is being undone
	PodDisappear PodEvent = "disappeared" // a reboot, or its namespaces are gone
)

// Events of a container.
const (
	ContainerSetUp       ContainerEvent = "set up"       // waits at its start gate
	ContainerStart       ContainerEvent = "start"        // someone asked
	ContainerStarted     ContainerEvent = "started"      // it has exec'd
	ContainerStartFailed ContainerEvent = "start failed" // the exec failed
	ContainerExit        ContainerEvent = "exit"         // its process ended, or is gone
	ContainerRemove      ContainerEvent = "remove"       // someone asked, or the set-up is being undone
)

var podTable = map[PodState]map[PodEvent]PodState{
	PodCreating: {PodSetUp: PodReady, PodStop: PodStopping, PodRemove: PodRemoving, PodDisappear: PodNotReady},
	PodReady:    {PodStop: PodStopping, PodDisappear: PodNotReady},
	PodStopping: {PodStop: PodStopping, PodStopped: PodNotReady, PodDisappear: PodNotReady},
	PodNotReady: {PodStop: PodNotReady, PodStopped: PodNotReady, PodRemove: PodRemoving, PodDisappear: PodNotReady},
	PodRemoving: {PodRemove: PodRemoving, PodDisappear: PodRemoving},
}

// A process may exit before anyone is told that it started, so started and start
// failed are accepted, and change nothing, once it is exited or being removed.
var containerTable = map[ContainerState]map[ContainerEvent]ContainerState{
	ContainerCreating: {ContainerSetUp: ContainerCreated, ContainerExit: ContainerExited, ContainerRemove: ContainerRemoving},
	ContainerCreated:  {ContainerStart: ContainerStarting, ContainerExit: ContainerExited, ContainerRemove: ContainerRemoving},
	ContainerStarting: {ContainerStarted: ContainerRunning, ContainerStartFailed: ContainerExited, ContainerExit: ContainerExited},
	ContainerRunning:  {ContainerExit: ContainerExited},
	ContainerExited: {ContainerExit: ContainerExited, ContainerStarted: ContainerExited,
		ContainerStartFailed: ContainerExited, ContainerRemove: ContainerRemoving},
	ContainerRemoving: {ContainerExit: ContainerRemoving, ContainerStarted: ContainerRemoving,
		ContainerStartFailed: ContainerRemoving, ContainerRemove: ContainerRemoving},
}

// NextPod is the state that a pod in state s has after event e, or an error of kind
// ErrState where e cannot happen in s.
func NextPod(s PodState, e PodEvent) (PodState, error) {
	if n, ok := podTable[s][e]; ok {
		return n, nil
	}
	return s, fmt.Errorf("pod is %s, cannot %s: %w", s, e, ErrState)
}

// NextContainer is the state that a container in state s has after event e, or an error
// of kind ErrState where e cannot happen in s.
func NextContainer(s ContainerState, e ContainerEvent) (ContainerState, error) {
	if n, ok := containerTable[s][e]; ok {
		return n, nil
	}
	return s, fmt.Errorf("container is %s, cannot %s: %w", s, e, ErrState)
}
