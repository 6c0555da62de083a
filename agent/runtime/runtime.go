// Package runtime is the agent's one door to the monitor and to oci: it plans, makes
// cgroups, launches through the monitor, and tells of exits. It knows container ids and
// runtime-specs, not CRI. No other package of the agent imports oci or talks to the monitor.
package runtime

import (
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/oci/plan"
)

// SandboxSpec describes a pod's holder.
type SandboxSpec struct {
	ID string
	// Network, IPC, UTS, PID and User say which namespaces the pod makes new; where PID is
	// true the holder stays as the pod's PID 1.
	Network, IPC, UTS, PID bool
	// User are the id mappings of a user namespace of the pod's, which then owns the others;
	// nil for the node's.
	User     *IDMaps
	Hostname string
	Sysctls  map[string]string // dotted names, as CRI has them
	// PinDir is where net, ipc and uts are bind-mounted; made by the caller.
	PinDir string
	// CgroupPath is the pod's cgroup ("/kubepods/…/podUID/…"); made with Resources if absent.
	CgroupPath string
	Resources  *specs.LinuxResources
	// OwnCgroup says that CgroupPath is the pod's own and is removed with the sandbox; otherwise
	// it is the caller's (a kubelet's pod cgroup): made if absent, Resources applied only if made, never removed.
	// Processes never live in CgroupPath itself (v2 forbids it beside children): a reaper lives in
	// CgroupPath/ID, a holder that exits stays in the monitor's cgroup.
	OwnCgroup bool
}

// IDMaps say which ids of the node stand behind those inside.
type IDMaps struct{ UIDs, GIDs []specs.LinuxIDMapping }

// Sandbox is a pod's holder after the clone: its namespaces are pinned, it waits at the checkpoint.
type Sandbox struct {
	Pid int // of the holder; for a pod PID namespace it is PID 1 there and lives as long as the pod
	// NetNS, IPCNS, UTSNS, UserNS are the pins' paths, "" for the node's.
	NetNS, IPCNS, UTSNS, UserNS string
}

// ContainerSpec is a container to create.
type ContainerSpec struct {
	ID   string
	Spec *specs.Spec // cgroupsPath, namespaces with paths, mounts … all final
	// Rootfs: overlay directories; Lower are names in LowerBase, top-most first.
	LowerBase   string
	Lower       []string
	Upper, Work string
	// Layers are the contents of mounts of Spec of type "overlay", by destination.
	Layers map[string]Layers

	LogPath   string
	Stdin     bool
	StdinOnce bool
}

// Layers are directories to be shown as one, read-only: Names in Base, top-most first, two at
// least; with SubPath only what that names inside.
type Layers = plan.Layers

// ExecSpec is a process to run in a container. Descriptors stay the caller's.
type ExecSpec struct {
	ID      string // unique
	Process *specs.Process
	Stdio   [3]*os.File
}

// Exec is a running exec.
type Exec struct {
	Pid     int
	Console *os.File // with Process.Terminal; the caller's to close
	Done    <-chan Exit
}

// Exit is how a process ended.
type Exit struct {
	ID         string
	Code       int
	Signal     int
	OOMKilled  bool
	Unknown    bool // the process is gone and nobody can know how: Code is 255
	StartedAt  time.Time
	FinishedAt time.Time
}

// Live is what the monitor knows of one process, for recovery.
type Live struct {
	ID        string
	Holder    bool
	Exec      bool
	Running   bool // past its start gate
	Exit      *Exit
	Pid       int
	StartedAt time.Time
}

// Usage is one reading of a cgroup. Pointers are nil where the kernel does not say.
type Usage struct {
	At                 time.Time
	CPUNanos           uint64
	MemoryBytes        uint64 // usage
	WorkingSetBytes    uint64 // usage less inactive file
	RSSBytes           uint64
	PageFaults         uint64
	MajorPageFaults    uint64
	AvailableBytes     *uint64 // limit less working set, where there is a limit
	SwapBytes          *uint64
	SwapAvailableBytes *uint64
	Pids               uint64
	PSI                *PSI // cgroup v2
}

// PSI is pressure stall information of cpu, memory and io.
type PSI struct{ CPU, Memory, IO PSIPair }

// PSIPair has "full" and "some" lines.
type PSIPair struct{ Full, Some PSILine }

// PSILine: Total in microseconds, averages in percent.
type PSILine struct {
	Total                uint64
	Avg10, Avg60, Avg300 float64
}
