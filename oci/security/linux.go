package security

import "github.com/slipway-cri/slipway/oci/kernel"

// Linux is the real kernel. Proc is a descriptor of kernel.OpenProc.
type Linux struct{ Proc int }

var _ Kernel = Linux{}

// Prctl is prctl(2).
func (Linux) Prctl(option int, a2, a3 uintptr) error { return kernel.Prctl(option, a2, a3, 0) }

// Capset is capset(2).
func (Linux) Capset(effective, permitted, inheritable uint64) error {
	return kernel.Capset(effective, permitted, inheritable)
}

// Setgroups is setgroups(2) of this thread.
func (Linux) Setgroups(gids []uint32) error { return kernel.Setgroups(gids) }

// Setresgid is setresgid(2) of this thread.
func (Linux) Setresgid(gid uint32) error { return kernel.Setresgid(gid) }

// Setresuid is setresuid(2) of this thread.
func (Linux) Setresuid(uid uint32) error { return kernel.Setresuid(uid) }

// Seccomp is seccomp(2).
func (Linux) Seccomp(program []byte, flags uint32) error { return kernel.Seccomp(program, flags) }

// Setrlimit is prlimit64(2).
func (Linux) Setrlimit(resource int, soft, hard uint64) error {
	return kernel.Setrlimit(resource, soft, hard)
}

// WriteProc writes below the host's /proc.
func (l Linux) WriteProc(path, value string) error { return kernel.WriteProc(l.Proc, path, value) }
