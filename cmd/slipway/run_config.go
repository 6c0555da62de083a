package main

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What run marks its pods with.
const (
	runNamespace     = "default"
	runLabel         = "slipway.run"
	logDirAnnotation = "slipway.run/log-directory"
)

// The paths that the kubelet masks, so that a container of run is confined as one of a pod spec.
var (
	maskedPaths = []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// runOptions are run's flags.
type runOptions struct {
	image string
	args  []string

	rm, stdin, tty, detach, quiet          bool
	name, pod, pull, entrypoint, workdir   string
	user, network, logDir, memory, cpus    string
	env, volumes, ports, labels            []string
	capAdd, capDrop                        []string
	privileged, readOnly, seccompUnconfine bool
	grace                                  time.Duration
}

func (o *runOptions) flags(f *pflag.FlagSet) {
	f.BoolVar(&o.rm, "rm", false, "remove the pod and its log when the container ends")
	f.BoolVarP(&o.stdin, "stdin", "i", false, "connect stdin")
	f.BoolVarP(&o.tty, "tty", "t", false, "give the container a terminal")
	f.BoolVarP(&o.detach, "detach", "d", false, "start it, print its id and return")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no progress of a pull")
	f.StringVar(&o.name, "name", "", "the pod's name, with --pod the container's (default: made up)")
	f.StringVar(&o.pod, "pod", "", "add the container to this pod")
	f.StringVar(&o.pull, "pull", "missing", "missing, always or never")
	f.StringVar(&o.entrypoint, "entrypoint", "", "replaces the image's entrypoint")
	f.StringVarP(&o.workdir, "workdir", "w", "", "working directory in the container")
	f.StringVarP(&o.user, "user", "u", "", "UID, UID:GID or NAME")
	f.StringVar(&o.network, "network", "pod", "pod: its own network; host: the node's")
	f.StringVar(&o.logDir, "log-dir", "/var/log/slipway", "where the pod's log directory is made")
	f.StringVarP(&o.memory, "memory", "m", "", "memory limit, such as 64M")
	f.StringVar(&o.cpus, "cpus", "", "CPU limit, such as 0.5")
	f.StringArrayVarP(&o.env, "env", "e", nil, "NAME=VALUE, or NAME for this process's value")
	f.StringArrayVarP(&o.volumes, "volume", "v", nil, "HOST:CONTAINER[:ro|rw|rro|rslave|rshared,...]")
	f.StringArrayVarP(&o.ports, "publish", "p", nil, "[IP:]HOST:CONTAINER[/tcp|udp|sctp]")
	f.StringArrayVarP(&o.labels, "label", "l", nil, "NAME=VALUE on pod and container")
	f.StringSliceVar(&o.capAdd, "cap-add", nil, "add a capability, or ALL")
	f.StringSliceVar(&o.capDrop, "cap-drop", nil, "drop a capability, or ALL")
	f.BoolVar(&o.privileged, "privileged", false, "no confinement")
	f.BoolVar(&o.readOnly, "read-only", false, "read-only root file system")
	f.BoolVar(&o.seccompUnconfine, "no-seccomp", false, "no seccomp filter")
	f.DurationVar(&o.grace, "stop-time", defaultGrace, "grace period when interrupted")
}

// configs are the requests for the pod and its container.
func (o *runOptions) configs() (*runtimeapi.PodSandboxConfig, *runtimeapi.ContainerConfig, error) {
	switch {
	case o.pull != "missing" && o.pull != "always" && o.pull != "never":
		return nil, nil, usagef("--pull %q: want missing, always or never", o.pull)
	case o.network != "pod" && o.network != "host":
		return nil, nil, usagef("--network %q: want pod or host", o.network)
	case o.detach && o.rm:
		return nil, nil, usagef("--rm needs this command to stay: it does not go with -d")
	case !filepath.IsAbs(o.logDir):
		return nil, nil, usagef("--log-dir %q is not absolute", o.logDir)
	}
	if o.pod != "" {
		if err := o.besidePod(); err != nil {
			return nil, nil, err
		}
	}
	labels, err := pairs("--label", o.labels)
	if err != nil {
		return nil, nil, err
	}
	labels[runLabel] = "true"
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	uid := hex.EncodeToString(id[:])
	name := cmp.Or(o.name, "run-"+uid[:8])
	namespaces := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
	hostname := strings.ReplaceAll(name, "_", "-")
	if o.network == "host" {
		namespaces.Network = runtimeapi.NamespaceMode_NODE
		hostname = ""
	}
	logs := filepath.Join(o.logDir, uid)
	pod := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: runNamespace, Uid: uid},
		Hostname: hostname, LogDirectory: logs, Labels: labels,
		Annotations: map[string]string{logDirAnnotation: logs},
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: namespaces, Privileged: o.privileged, Seccomp: o.seccomp(),
		}},
	}
	for _, p := range o.ports {
		m, err := parsePort(p)
		if err != nil {
			return nil, nil, err
		}
		pod.PortMappings = append(pod.PortMappings, m)
	}
	ctrName := "main"
	if o.pod != "" {
		ctrName = name
	}
	ctr, err := o.container(ctrName, namespaces, labels)
	return pod, ctr, err
}

func (o *runOptions) container(name string, namespaces *runtimeapi.NamespaceOption, labels map[string]string) (*runtimeapi.ContainerConfig, error) {
	c := &runtimeapi.ContainerConfig{
		Metadata:   &runtimeapi.ContainerMetadata{Name: name},
		Args:       o.args,
		WorkingDir: o.workdir, Labels: labels, LogPath: name + ".log",
		Stdin: o.stdin, StdinOnce: o.stdin, Tty: o.tty,
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources: &runtimeapi.LinuxContainerResources{},
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: namespaces, Privileged: o.privileged, ReadonlyRootfs: o.readOnly, Seccomp: o.seccomp(),
				Capabilities: &runtimeapi.Capability{AddCapabilities: o.capAdd, DropCapabilities: o.capDrop},
			},
		},
	}
	if o.entrypoint != "" {
		c.Command = []string{o.entrypoint}
	}
	s := c.Linux.SecurityContext
	if !o.privileged {
		s.MaskedPaths, s.ReadonlyPaths = slices.Clone(maskedPaths), slices.Clone(readonlyPaths)
	}
	if err := setUser(s, o.user); err != nil {
		return nil, err
	}
	for _, e := range o.env {
		name, value, ok := strings.Cut(e, "=")
		if !ok {
			if value, ok = os.LookupEnv(name); !ok {
				continue
			}
		}
		c.Envs = append(c.Envs, &runtimeapi.KeyValue{Key: name, Value: []byte(value)})
	}
	for _, v := range o.volumes {
		m, err := parseVolume(v)
		if err != nil {
			return nil, err
		}
		c.Mounts = append(c.Mounts, m)
	}
	return c, o.limits(c.Linux.Resources)
}

func (o *runOptions) seccomp() *runtimeapi.SecurityProfile {
	if o.privileged || o.seccompUnconfine {
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
}

func (o *runOptions) limits(r *runtimeapi.LinuxContainerResources) error {
	if o.memory != "" {
		n, err := parseBytes(o.memory)
		if err != nil {
			return usagef("--memory %q: %w", o.memory, err)
		}
		r.MemoryLimitInBytes = n
	}
	if o.cpus != "" {
		f, err := strconv.ParseFloat(o.cpus, 64)
		if err != nil || f < 0.01 || f > 4096 {
			return usagef("--cpus %q: want a number of at least 0.01", o.cpus)
		}
		r.CpuPeriod, r.CpuQuota, r.CpuShares = 100_000, int64(f*100_000), max(2, int64(f*1024))
	}
	return nil
}

func pairs(flag string, list []string) (map[string]string, error) {
	m := make(map[string]string)
	for _, kv := range list {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return nil, usagef("%s %q: want NAME=VALUE", flag, kv)
		}
		m[name] = value
	}
	return m, nil
}

// parseBytes takes a number with K, M, G or T (and an optional i, B), powers of 1024.
func parseBytes(s string) (int64, error) {
	number := strings.TrimRight(s, "kKmMgGtTiIbB")
	unit := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s[len(number):]), "B"), "I")
	shift, ok := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[unit]
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || n <= 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("want a size such as 64M")
	}
	return n << shift, nil
}

func setUser(s *runtimeapi.LinuxContainerSecurityContext, user string) error {
	if user == "" {
		return nil
	}
	u, g, hasGroup := strings.Cut(user, ":")
	if id, err := strconv.ParseInt(u, 10, 64); err == nil {
		s.RunAsUser = &runtimeapi.Int64Value{Value: id}
	} else {
		s.RunAsUsername = u
	}
	if hasGroup {
		id, err := strconv.ParseInt(g, 10, 64)
		if err != nil {
			return usagef("--user %q: the group must be a number", user)
		}
		s.RunAsGroup = &runtimeapi.Int64Value{Value: id}
	}
	return nil
}

// parsePort takes [IP:]HOST:CONTAINER[/PROTOCOL], an IPv6 address in brackets.
func parsePort(s string) (*runtimeapi.PortMapping, error) {
	bad := usagef("--publish %q: want [IP:]HOST:CONTAINER[/tcp|udp|sctp]", s)
	ports, proto, _ := strings.Cut(s, "/")
	protocol, ok := runtimeapi.Protocol_value[strings.ToUpper(cmp.Or(proto, "tcp"))]
	at := strings.LastIndexByte(ports, ':')
	if !ok || at < 0 {
		return nil, bad
	}
	host, ip := ports[:at], ""
	if strings.Contains(host, ":") {
		var err error
		if ip, host, err = net.SplitHostPort(host); err != nil || net.ParseIP(ip) == nil {
			return nil, bad
		}
	}
	hostPort, err1 := parsePortNumber(host)
	containerPort, err2 := parsePortNumber(ports[at+1:])
	if err1 != nil || err2 != nil {
		return nil, bad
	}
	return &runtimeapi.PortMapping{
		Protocol: runtimeapi.Protocol(protocol), HostIp: ip, HostPort: hostPort, ContainerPort: containerPort,
	}, nil
}

func parsePortNumber(s string) (int32, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return int32(n), err
}

// parseVolume takes HOST:CONTAINER[:OPTION,...]; a relative HOST is of the current directory.
func parseVolume(s string) (*runtimeapi.Mount, error) {
	f := strings.Split(s, ":")
	if len(f) < 2 || len(f) > 3 || f[0] == "" || !path.IsAbs(f[1]) {
		return nil, usagef("--volume %q: want HOST:CONTAINER[:OPTION,...]", s)
	}
	host, err := filepath.Abs(f[0])
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(host); err != nil {
		return nil, fmt.Errorf("--volume: %w", err)
	}
	m := &runtimeapi.Mount{HostPath: host, ContainerPath: f[1]}
	if len(f) < 3 {
		return m, nil
	}
	for o := range strings.SplitSeq(f[2], ",") {
		switch o {
		case "rw":
		case "ro":
			m.Readonly = true
		case "rro":
			m.Readonly, m.RecursiveReadOnly = true, true
		case "rprivate", "private":
		case "rslave", "slave":
			m.Propagation = runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
		case "rshared", "shared":
			m.Propagation = runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
		case "z", "Z":
			m.SelinuxRelabel = true
		default:
			return nil, usagef("--volume %q: unknown option %q", s, o)
		}
	}
	return m, nil
}
