// Package seccomp compiles an OCI seccomp profile into a classic BPF program, in pure
// Go, and finds the profile a container gets (the field's default, or a file).
//
// System-call numbers come from tables (Linux 6.15), never from the running kernel: the
// same profile gives the same program on every machine of one GOARCH. It does not load
// programs (oci/initproc does) and has no user notification. A Cache has its own lock;
// everything else is stateless or immutable.
package seccomp
