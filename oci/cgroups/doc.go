// Package cgroups makes, limits, reads, freezes, kills and removes one container's or
// pod's cgroup in every hierarchy of the machine: v1, hybrid and v2, as cgroupfs has them.
// The writing of limits and the device filters are opencontainers/cgroups'; making,
// reading and removing are done here with few system calls, and no process is ever
// moved: a v1 process enters by writing to TasksFiles itself, a v2 one is born in OpenDir.
//
// Not its job: who owns a cgroup, systemd's driver, cgroup namespaces. A *Cgroup is
// immutable and holds no descriptor; all methods may be called concurrently.
package cgroups
