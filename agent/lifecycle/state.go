package lifecycle

// PodState is the stored state of a pod sandbox.
type PodState string

// ContainerState is the stored state of a container.
type ContainerState string

// States of a pod: Creating → Ready → Stopping → NotReady → Removing → (gone).
const (
	PodCreating PodState = "creating"
	PodReady    PodState = "ready"
	PodStopping PodState = "stopping"
	PodNotReady PodState = "notready"
	PodRemoving PodState = "removing"
)

// States of a container: Creating → Created → Starting → Running → Exited → Removing → (gone).
const (
	ContainerCreating ContainerState = "creating"
	ContainerCreated  ContainerState = "created"
	ContainerStarting ContainerState = "starting"
	ContainerRunning  ContainerState = "running"
	ContainerExited   ContainerState = "exited"
	ContainerRemoving ContainerState = "removing"
)
