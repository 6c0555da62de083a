// Package initconf is what slipway-init is told: the child's half of a plan, as
// data, and its encoding. oci/plan fills it, oci/initproc carries it out. It
// imports nothing but oci/wire, since it is linked into slipway-init.
package initconf

// Fixed descriptors of slipway-init, by position. Descriptors 0 to 2 are the
// standard streams of the process to be; with Config.Terminal they are /dev/null until
// the pty is made. Those that a mode does not use are simply not open.
const (
	FDConfig     = 3 // memfd with the encoded Config, read from offset 0
	FDCheckpoint = 4 // read end of the checkpoint gate: the parent's set-up is done
	FDReport     = 5 // SOCK_SEQPACKET socket to the parent: Ready, Console, Failure; EOF = exec succeeded
	FDStart      = 6 // read end of the start gate, or Config.StartFIFO (ModeContainer)
	FDTarget     = 7 // pidfd of the container's process (ModeExec)
)

// FDExtra is the first of Config.Extra descriptors: sources of mounts that this process has no
// right to open. The one before it is slipway-init's own program.
const FDExtra = FDTarget + 2

// Mode says which of its four lives slipway-init leads.
type Mode uint8

const (
	// ModeContainer: set up a container, report Ready, wait at the start gate, exec.
	ModeContainer Mode = iota + 1
	// ModeExec: join a running container through FDTarget, exec at once.
	ModeExec
	// ModeHolder: hold a pod's new namespaces while the parent pins them; after the
	// checkpoint set hostname and sysctls, report Ready, exit 0.
	ModeHolder
	// ModeReaper: as ModeHolder, then stay as PID 1 of the pod's PID namespace and reap.
	ModeReaper
)

// Config is everything slipway-init does, in the order in which it does it.
type Config struct {
	Mode Mode

	// Cgroups are v1 `tasks` files into which the main thread writes "0" right after
	// the checkpoint (a thread that moves itself takes no cgroup-wide lock). Empty on
	// v2, where the process is born in its cgroup.
	Cgroups []string
	// Extra is how many descriptors there are from FDExtra on.
	Extra int
	// OOMScoreAdj is written to /proc/self/oom_score_adj if HasOOMScoreAdj; EACCES on
	// lowering without CAP_SYS_RESOURCE is clamped to the current value, not an error.
	OOMScoreAdj    int
	HasOOMScoreAdj bool
	// Joins are namespaces entered by path, in order, before Unshare.
	Joins []Join
	// TargetFlags are the CLONE_NEW* flags for setns(FDTarget) (ModeExec).
	TargetFlags uint32
	// Unshare are the CLONE_NEW* flags that init unshares itself (the cgroup
	// namespace: its root must be the cgroup the process already is in).
	Unshare uint32
	// NewSession makes init call setsid (always, except never for ModeReaper's children).
	NewSession bool
	// NewKeyring joins a new anonymous session keyring.
	NewKeyring bool
	// StartFIFO says that FDStart is a FIFO that init holds open for reading and writing: one token byte
	// opens it, and EOF never comes since init is a writer itself. It is for a container whose creator
	// exits after Ready, so that there is no parent whose death could be mistaken for a go; whoever
	// gives the container up kills init. A failure after Ready, when nobody reads FDReport any more, is
	// written back into the FIFO; that the program can be found is checked before Ready.
	StartFIFO bool

	Hostname   string
	Domainname string
	Sysctls    []Sysctl

	Root          Root
	Mounts        []Mount
	Devices       []Device
	DevSymlinks   bool // /dev/fd, stdin, stdout, stderr, ptmx (ModeContainer)
	MaskedPaths   []string
	ReadonlyPaths []string

	Terminal      bool
	ConsoleHeight uint16
	ConsoleWidth  uint16

	Rlimits      []Rlimit
	Capabilities Capabilities
	NoNewPrivs   bool
	// Seccomp is a classic BPF program: 8 bytes an instruction, native byte order
	// (struct sock_filter). Empty means none. SeccompFlags are SECCOMP_FILTER_FLAG_*.
	Seccomp      []byte
	SeccompFlags uint32
	// AppArmor profile for exec, "" for none; SELinux process label, "" for none.
	AppArmor string
	SELinux  string

	UID   uint32
	GID   uint32
	Gids  []uint32 // supplementary groups, complete
	Umask uint32
	// HasUmask is false where the runtime's default (0022) applies.
	HasUmask bool
	Cwd      string
	// CreateCwd makes a missing working directory, as the field's runtimes do.
	CreateCwd bool
	Args      []string
	Env       []string
	// Scheduler, IOPriority and Personality are left out until something can ask for them.
}

// Join is one setns by path. Flag is one CLONE_NEW* constant.
type Join struct {
	Flag uint32
	Path string
}

// Sysctl is a name in slash form relative to /proc/sys, and its value.
type Sysctl struct{ Path, Value string }

// Root is the container's root file system.
type Root struct {
	// Lower are overlay lower directories, top-most first, relative to LowerBase
	// (init changes directory there, so that 128 layers fit a page of options).
	// Empty Lower means a bind mount of Bind.
	LowerBase string
	Lower     []string
	Upper     string
	Work      string
	// OverlayOptions are extra comma-separated options ("volatile", "userxattr").
	OverlayOptions string
	Bind           string
	FD             int // descriptor of a detached mount that is the root, instead of the others; 0 for none
	Readonly       bool
	// Propagation is the MS_{PRIVATE,SLAVE,SHARED,UNBINDABLE}|MS_REC flag set for "/" of the new mount
	// namespace before anything is mounted; 0 means MS_SLAVE|MS_REC for containers
	// that use host propagation and MS_PRIVATE|MS_REC otherwise.
	Propagation uint64
	// Label is the SELinux mount label, "" for none.
	Label string
}

// Mount is one mount inside the root, made in list order. Destinations are
// resolved inside the root without leaving it; missing ones are created.
type Mount struct {
	Type        string // "bind" for binds, else the file system's name
	Source      string
	Destination string // absolute, in the container
	Flags       uint64 // MS_* without propagation; includes MS_BIND, MS_REC, MS_RDONLY...
	// ClearFlags are MS_* to be cleared on a bind's remount (rw over an ro source).
	ClearFlags uint64
	// Propagation are MS_{PRIVATE,SLAVE,SHARED,UNBINDABLE}[|MS_REC] calls, in order.
	Propagation []uint64
	// RecAttrSet and RecAttrClear are MOUNT_ATTR_* for mount_setattr(AT_RECURSIVE)
	// (recursive read-only binds: rro).
	RecAttrSet   uint64
	RecAttrClear uint64
	Data         string // file-system specific options
	// Optional mounts whose source is missing are passed over.
	Optional bool
	// CgroupView mounts what this machine's cgroup layout calls for at Destination
	// (type "cgroup": the v1 hierarchies one by one, or cgroup2).
	CgroupView bool
	// CopyUp copies the image's content below Destination into a new tmpfs.
	CopyUp bool
	// Layers makes this mount an overlay of directories, read-only for good: names below
	// LayerBase, top-most first, at least two. SubPath is what is mounted of it, looked up
	// inside it; "" is all.
	LayerBase string
	Layers    []string
	SubPath   string
	// SourceFD is the descriptor of a detached mount that is the source, or 0.
	SourceFD int
	// Mapped says that the source shows its ids through the process's user namespace. Whoever
	// makes SourceFD sees to it: without one it is an error.
	Mapped bool
}

// Device is a node to make in the container's /dev.
type Device struct {
	Path         string
	Type         byte // 'c', 'b' or 'p'
	Major, Minor uint32
	Mode         uint32 // permission bits
	UID, GID     uint32
}

// Rlimit is one setrlimit; Resource is the RLIMIT_* number. Raising over the hard
// limit without CAP_SYS_RESOURCE is an error that names it.
type Rlimit struct {
	Resource   uint32
	Soft, Hard uint64
}

// Capabilities are five sets as bit masks, bit n for capability n.
type Capabilities struct {
	Bounding, Effective, Permitted, Inheritable, Ambient uint64
}
