package plan

import (
	"fmt"
	"math"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/seccomp"
)

func ptr[T any](v T) *T { return &v }

var defaultCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// allOptions is a machine with everything; CAP_SYS_RESOURCE (24) is held back from the runtime.
func allOptions() Options {
	return Options{
		LastCap: 40, AllowedCaps: math.MaxUint64 &^ (1 << 24), Arch: "amd64",
		Features: Features{MountSetattr: true, CgroupNS: true},
	}
}

func ns(types ...specs.LinuxNamespaceType) (out []specs.LinuxNamespace) {
	for _, t := range types {
		out = append(out, specs.LinuxNamespace{Type: t})
	}
	return out
}

func joined(ns []specs.LinuxNamespace, t specs.LinuxNamespaceType, path string) []specs.LinuxNamespace {
	return append(ns, specs.LinuxNamespace{Type: t, Path: path})
}

// standardMounts are those that every Kubernetes container gets.
func standardMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}

// criSpec is a container in a pod of its own net, ipc and uts namespaces.
func criSpec() *specs.Spec {
	s := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{},
		Process: &specs.Process{
			Args: []string{"nginx", "-g", "daemon off;"}, Env: []string{"PATH=/usr/sbin:/usr/bin", "HOSTNAME=web-0"}, Cwd: "/srv",
			User: specs.User{UID: 101, GID: 101, AdditionalGids: []uint32{101, 2000}},
			Capabilities: &specs.LinuxCapabilities{
				Bounding: defaultCaps, Effective: defaultCaps, Permitted: defaultCaps, Inheritable: defaultCaps,
			},
			NoNewPrivileges: true, OOMScoreAdj: ptr(937), ApparmorProfile: "slipway-default",
		},
		Mounts: append(standardMounts(),
			specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/run/slipway/pods/p/shm", Options: []string{"rw", "rbind"}},
			specs.Mount{Destination: "/etc/hosts", Type: "bind", Source: "/run/slipway/pods/p/hosts", Options: []string{"rbind", "rprivate", "rw"}},
			specs.Mount{Destination: "/var/run/secrets/kubernetes.io/serviceaccount", Source: "/var/lib/kubelet/pods/u/volumes/token", Options: []string{"rbind", "rprivate", "ro"}},
		),
		Linux: &specs.Linux{
			CgroupsPath:   "/kubepods/burstable/podu/web",
			MaskedPaths:   []string{"/proc/acpi", "/proc/kcore", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/sys"},
			Resources:     &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(128 << 20))}},
		},
	}
	s.Linux.Namespaces = ns(specs.PIDNamespace, specs.MountNamespace, specs.CgroupNamespace)
	s.Linux.Namespaces = joined(s.Linux.Namespaces, specs.NetworkNamespace, "/run/slipway/pods/p/ns/net")
	s.Linux.Namespaces = joined(s.Linux.Namespaces, specs.IPCNamespace, "/run/slipway/pods/p/ns/ipc")
	s.Linux.Namespaces = joined(s.Linux.Namespaces, specs.UTSNamespace, "/run/slipway/pods/p/ns/uts")
	p, err := seccomp.Default(s)
	if err != nil {
		panic(err)
	}
	s.Linux.Seccomp = p
	return s
}

func overlay() *initconf.Root {
	return &initconf.Root{LowerBase: "/var/lib/slipway/layers", Lower: []string{"3", "2", "1"}, Upper: "/var/lib/slipway/c/web/upper", Work: "/var/lib/slipway/c/web/work"}
}

// bareSpec is what a person writes for a runtime's command line.
func bareSpec() *specs.Spec {
	return &specs.Spec{
		Version:  "1.0.2",
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Process:  &specs.Process{Args: []string{"sh"}, Cwd: "/", Terminal: true, ConsoleSize: &specs.Box{Height: 24, Width: 80}},
		Hostname: "bare", Domainname: "example.test",
		Mounts: standardMounts(),
		Linux:  &specs.Linux{Namespaces: ns(specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace, specs.CgroupNamespace)},
	}
}

type planCase struct {
	name string
	spec *specs.Spec
	exec *specs.Process // plan an exec
	opts Options
}

func edit(s *specs.Spec, changes ...func(*specs.Spec)) *specs.Spec {
	for _, f := range changes {
		f(s)
	}
	return s
}

func allCaps() (names []string) {
	return append(append([]string{}, defaultCaps...), "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_RESOURCE", "CAP_CHECKPOINT_RESTORE", "CAP_DAC_READ_SEARCH")
}

func privileged(s *specs.Spec) {
	k := allCaps()
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: k, Effective: k, Permitted: k, Inheritable: k}
	s.Process.NoNewPrivileges, s.Process.ApparmorProfile = false, ""
	s.Process.User = specs.User{}
	s.Linux.Seccomp, s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil, nil
	s.Linux.RootfsPropagation = "rshared"
	s.Mounts[4].Options = []string{"nosuid", "noexec", "nodev", "rw"}
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/var/lib/kubelet", Source: "/var/lib/kubelet", Options: []string{"rbind", "rshared", "rw"}})
	for i := range 3 {
		s.Linux.Devices = append(s.Linux.Devices, specs.LinuxDevice{Path: fmt.Sprint("/dev/sda", i), Type: "b", Major: 8, Minor: int64(i), FileMode: ptr(os.FileMode(0o660)), GID: ptr(uint32(6))})
	}
}

func hostNamespaces(s *specs.Spec) {
	s.Linux.Namespaces = ns(specs.MountNamespace)
}

func podPID(s *specs.Spec) {
	s.Linux.Namespaces = append(s.Linux.Namespaces[1:], specs.LinuxNamespace{Type: specs.PIDNamespace, Path: "/proc/4711/ns/pid"})
}

func userNamespace(s *specs.Spec) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 1000}, {ContainerID: 1000, HostID: 300000, Size: 64536}}
}

func withSysctls(s *specs.Spec) {
	s.Linux.Sysctl = map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.conf.eth0/100.forwarding": "1", "net/ipv6/conf/eth0.200/forwarding": "1",
		"kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "100",
	}
}

func manyDevices(s *specs.Spec) {
	s.Linux.Devices = []specs.LinuxDevice{
		{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: ptr(os.FileMode(0o600)), UID: ptr(uint32(5)), GID: ptr(uint32(6))},
		{Path: "/dev/null", Type: "u", Major: 1, Minor: 3, FileMode: ptr(os.FileMode(0o622))},
		{Path: "/dev/mapper/a", Type: "b", Major: 253, Minor: 70000},
		{Path: "/dev/pipe", Type: "p"},
	}
	s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 4096}, {Type: "RLIMIT_CORE"}, {Type: "RLIMIT_MEMLOCK", Soft: math.MaxUint64, Hard: math.MaxUint64}}
}

func volumes(s *specs.Spec) {
	s.Linux.MountLabel, s.Process.SelinuxLabel = "system_u:object_r:container_file_t:s0:c1,c2", "system_u:system_r:container_t:s0:c1,c2"
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/cache", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup", "noexec", "exec", "rw", "size=1m"}},
		specs.Mount{Destination: "/ro/../ro-all", Type: "bind", Source: "/data", Options: []string{"rbind", "ro", "rro", "rnosuid", "rnoatime", "rslave"}},
		specs.Mount{Destination: "/hostpath", Type: "none", Source: "/hostpath", Options: []string{"bind", "suid", "dev", "private", "rw", "Z"}},
	)
}

func ambient(s *specs.Spec) {
	s.Process.Capabilities.Ambient = []string{"CAP_NET_BIND_SERVICE", "CAP_SYS_RESOURCE"}
	s.Process.Capabilities.Permitted = append([]string{"CAP_SYS_RESOURCE"}, s.Process.Capabilities.Permitted...)
	s.Process.User.Umask = ptr(uint32(0o027))
	s.Root.Readonly = true
	s.Process.Cwd = ""
}

func cases() []planCase {
	cri := allOptions()
	cri.Rootfs = overlay()
	bundle := allOptions()
	bundle.Bundle = "/bundle"
	keep := cri
	keep.KeepKeyring = true
	tty := &specs.Process{Args: []string{"/bin/sh"}, Env: []string{"TERM=xterm"}, Cwd: "/tmp", Terminal: true, ConsoleSize: &specs.Box{Height: 50, Width: 200}}
	return []planCase{
		{name: "cri-container", spec: criSpec(), opts: cri},
		{name: "privileged", spec: edit(criSpec(), privileged), opts: cri},
		{name: "host-namespaces", spec: edit(criSpec(), hostNamespaces), opts: cri},
		{name: "pod-pid", spec: edit(criSpec(), podPID), opts: keep},
		{name: "readonly-ambient", spec: edit(criSpec(), ambient), opts: cri},
		{name: "user-namespace", spec: edit(bareSpec(), userNamespace), opts: bundle},
		{name: "sysctls", spec: edit(bareSpec(), withSysctls), opts: bundle},
		{name: "devices", spec: edit(criSpec(), manyDevices), opts: cri},
		{name: "volumes", spec: edit(criSpec(), volumes), opts: cri},
		{name: "bare-tty", spec: bareSpec(), opts: bundle},
		{name: "bound-dev", spec: edit(criSpec(), func(s *specs.Spec) {
			s.Mounts[1] = specs.Mount{Destination: "/dev/", Source: "/dev", Options: []string{"rbind"}}
		}), opts: cri},
		{name: "exec", spec: criSpec(), exec: &specs.Process{Args: []string{"/bin/true"}, Cwd: "/"}, opts: cri},
		{name: "exec-tty-host", spec: edit(criSpec(), hostNamespaces, privileged), exec: tty, opts: cri},
		{name: "exec-user-namespace", spec: edit(bareSpec(), userNamespace), exec: &specs.Process{Args: []string{"id"}, Capabilities: &specs.LinuxCapabilities{}}, opts: cri},
	}
}
