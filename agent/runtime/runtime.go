// Package runtime is the agent's one door to the monitor and to oci: it plans, makes
// cgroups, launches through the monitor, and tells of exits. It knows container ids and
// runtime-specs, not CRI. No other package of the agent imports oci or talks to the monitor.
package runtime

import (
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// SandboxSpec describes a pod's holder.
type SandboxSpec struct {
	ID string
	// Network, IPC, UTS, PID and User say which namespaces the pod makes new; where PID is
	// true the holder stays as the pod's PID 1.
	Network, IPC, UTS, PID bool
	Hostname               string
	Sysctls                map[string]string // dotted names, as CRI has them
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

// Sandbox is a pod's holder after the clone: its namespaces are pinned, it waits at the checkpoint.
type Sandbox struct {
	Pid int // of the holder; for a pod PID namespace it is PID 1 there and lives as long as the pod
	// NetNS, IPCNS, UTSNS are the pins' paths, "" for the node's.
	NetNS, IPCNS, UTSNS string
}

// ContainerSpec is a container to create.
type ContainerSpec struct {
	ID   string
	Spec *specs.Spec // cgroupsPath, namespaces with paths, mounts … all final
	// Rootfs: overlay directories; Lower are names in LowerBase, top-most first.
	LowerBase   string
	Lower       []string
	Upper, Work string

	LogPath   string
	Stdin     bool
	StdinOnce bool
}

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

// The door itself:
//
//	func New(ctx context.Context, l layout.Layout, o Options) (*Runtime, error) // starts or finds the monitor
//	func (*Runtime) CreateSandbox(ctx, SandboxSpec) (*Sandbox, error)    // clone, pin; undoes itself on error
//	func (*Runtime) ReleaseSandbox(ctx, id string) error                 // token; waits until the holder has ended, or reaps as PID 1
//	func (*Runtime) AbortSandbox / RemoveSandbox(ctx, SandboxSpec) error // kill, unpin, remove the cgroup; repeatable
//	func (*Runtime) Create(ctx, ContainerSpec) (pid int, err error)      // ready at its start gate; undoes itself on error
//	func (*Runtime) Start(ctx, id string) (time.Time, error)
//	func (*Runtime) Signal(ctx, id string, sig syscall.Signal) error     // the main process; lifecycle.ErrNotFound when gone
//	func (*Runtime) KillAll(ctx, id, cgroupPath string) error            // SIGKILL to every process of the cgroup
//	func (*Runtime) Exec(ctx, id string, ExecSpec, *specs.Spec) (*Exec, error)
//	func (*Runtime) KillExec(ctx, execID string) error                   // the exec's whole session
//	func (*Runtime) Resize(ctx, id string, rows, cols uint16) error
//	func (*Runtime) Attach(ctx, id string, stdin bool) (*Attachment, error)
//	func (*Runtime) ReopenLog(ctx, id string) error
//	func (*Runtime) Update(ctx, cgroupPath string, *specs.LinuxResources) error
//	func (*Runtime) Pause / Resume(ctx, cgroupPath string) error
//	func (*Runtime) Delete(ctx, id, cgroupPath string) error             // kill what is left, forget, remove the cgroup; repeatable
//	func (*Runtime) Usage(cgroupPath string) (*Usage, error)
//	func (*Runtime) Live(ctx) ([]Live, error)
//	func (*Runtime) SetExitHandler(func(Exit))                           // containers' exits, in order, never concurrently
//	func (*Runtime) Shutdown(ctx) error                                  // ends the monitor (only when it has no children left)
