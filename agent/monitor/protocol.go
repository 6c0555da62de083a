// Package monitor is both sides of the node's container monitor: the server that is
// the parent of every container process, and the client that the agent holds. One
// monitor runs per node; it survives the agent.
//
// They talk over a SOCK_SEQPACKET path socket (0600): one packet a message, at most
// MaxMessage bytes, encoded with oci/wire, descriptors beside it as SCM_RIGHTS. Anything
// large (init's configuration) travels in a memfd.
//
//	agent                                   monitor
//	Hello{version} ───────────────────────► ◄─ Welcome{version, pid}; the newest agent displaces an older one
//	Request{seq, op, …} + fds ────────────► ◄─ Response{seq, error | …} + fds; any number in flight, any order
//	                                        ◄─ Exited{…}, unasked, after its record is on disk
//
//	op          request                        answer, and when
//	Launch      LaunchRequest + fds            pid, pidfd[, console]   cloned | ready | exec'd, by Kind
//	Release     id                             —                       holder has exited 0, or reaper is ready
//	Start       id                             StartedAt               it has exec'd
//	Signal      id, signal                     —                       sent to the main process
//	Resize      id, rows, columns              —
//	Attach      id, stdin?                     a SOCK_SEQPACKET socket (attachment.go)
//	ReopenLog   id                             —                       the new file is in use
//	Forget      id                             —                       entry and exit record are gone
//	List        after id                       processes in id order, more?
//	Shutdown    force?                         —                       every child is reaped; then the monitor ends
package monitor

import (
	"os"
	"strconv"
	"syscall"
	"time"
)

// MaxMessage bounds one packet in bytes.
const MaxMessage = 64 << 10

// Version of the protocol; a monitor answers only its own and older ones it knows.
const Version = 1

// Kind of a launched process.
type Kind uint8

const (
	KindHolder    Kind = iota + 1 // a pod's namespaces; waits for Release
	KindContainer                 // released at once, Launch answers when it is Ready at its start gate
	KindExec                      // in a running container; Launch answers when it has exec'd
)

// LaunchRequest describes a process to clone. For KindHolder Launch answers as soon as the
// child is cloned.
type LaunchRequest struct {
	ID     string // unique among the monitor's processes: pod, container or exec id
	Kind   Kind
	Target string // KindExec: the container to join

	CloneFlags uint64
	Config     *os.File // memfd with the encoded initconf.Config
	Cgroup     *os.File // cgroup2 directory to be born in, or nil
	PIDNS      *os.File // PID namespace to be born in, or nil

	// UIDMap and GIDMap (KindHolder) come with CLONE_NEWUSER.
	UIDMap, GIDMap []syscall.SysProcIDMap
	// User is a user namespace to be born in, or nil; TargetUser (KindExec) that of the target.
	// Joins are namespaces joined on the way, Tasks v1 cgroup files to be entered there, and
	// Extra further descriptors of init's, from initconf.FDExtra on.
	User       *os.File
	TargetUser bool
	Joins      []*os.File
	Tasks      []string
	Extra      []*os.File

	// Stdio (KindExec): descriptors used as they are; nil = /dev/null. Containers' streams
	// are the monitor's: stdout and stderr go to LogPath and to whoever is attached.
	Stdio     [3]*os.File
	Terminal  bool   // a pty is made inside; KindExec gets its master back in LaunchReply.Console
	Stdin     bool   // KindContainer: keep an open stdin for Attach
	StdinOnce bool   // close stdin when the first attach that has stdin ends
	LogPath   string // "" = no log file; made 0640, appended to
	// OOMFile is the file whose "oom_kill N" line tells of OOM kills (v1 memory.oom_control,
	// v2 memory.events), "" for none. It is read when the process exits.
	OOMFile string
}

// LaunchReply is a launched process. Pidfd and Console are the caller's to close.
type LaunchReply struct {
	Pid     int
	Pidfd   *os.File
	Console *os.File // KindExec with Terminal
}

// State of a process in the monitor.
type State uint8

const (
	StateWaiting State = iota + 1 // holder or reaper before Release; container before Start
	StateRunning
	StateExited
)

// Exit is how a process ended. It is written to disk (ExitDir/ID) before it is told.
type Exit struct {
	ID         string
	Code       int // exit status; 128+n for signal n
	Signal     int // 0 if it exited by itself
	OOMKilled  bool
	StartedAt  time.Time // zero if it never passed the start gate
	FinishedAt time.Time
}

// Process is one entry of List.
type Process struct {
	ID        string
	Kind      Kind
	State     State
	Pid       int
	StartedAt time.Time
	Exit      *Exit // StateExited
}

// LaunchError is a failure that init or the monitor reports: what was done, on what.
type LaunchError struct {
	Step, Path, Message string
	Errno               int
}

// Unwrap gives the errno, so that errors.Is(err, fs.ErrNotExist) works; nil without one.
func (e *LaunchError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return syscall.Errno(e.Errno)
}

func (e *LaunchError) Error() string {
	s := e.Step
	if e.Path != "" {
		s += " " + strconv.Quote(e.Path)
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}
