package convert

import (
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/runtime"
	"github.com/slipway-cri/slipway/agent/stats"
)

// ContainerStats is one container's usage. Without a reading (it does not run) only
// attributes and the writable layer are there: CRI has no way to say "zero, but not measured".
func ContainerStats(s *stats.Container) *runtimeapi.ContainerStats {
	c := s.Container
	out := &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{
			Id:          c.ID,
			Metadata:    c.Config.GetMetadata(),
			Labels:      c.Config.GetLabels(),
			Annotations: c.Config.GetAnnotations(),
		},
		WritableLayer: writableLayer(s),
	}
	if u := s.Usage; u != nil {
		out.Cpu = cpu(u, s.NanoCores)
		out.Memory = memory(u)
		out.Swap = swap(u)
		out.Io = blockIO(u)
	}
	return out
}

// PodSandboxStats is one pod's usage. at is when the call was answered: the network's
// counters were read then.
func PodSandboxStats(s *stats.Pod, at time.Time) *runtimeapi.PodSandboxStats {
	linux := &runtimeapi.LinuxPodSandboxStats{Network: networkUsage(s.Interfaces, at)}
	if u := s.Usage; u != nil {
		linux.Cpu = cpu(u, s.NanoCores)
		linux.Memory = memory(u)
		linux.Io = blockIO(u)
		linux.Process = &runtimeapi.ProcessUsage{Timestamp: nanos(u.At), ProcessCount: value(u.Pids)}
	}
	for i := range s.Containers {
		linux.Containers = append(linux.Containers, ContainerStats(&s.Containers[i]))
	}
	cfg := s.Pod.Config
	return &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{
			Id:          s.Pod.ID,
			Metadata:    cfg.GetMetadata(),
			Labels:      cfg.GetLabels(),
			Annotations: cfg.GetAnnotations(),
		},
		Linux: linux,
	}
}

func writableLayer(s *stats.Container) *runtimeapi.FilesystemUsage {
	if s.WritableAt.IsZero() {
		return nil
	}
	return &runtimeapi.FilesystemUsage{
		Timestamp:  nanos(s.WritableAt),
		FsId:       &runtimeapi.FilesystemIdentifier{Mountpoint: s.WritableDir},
		UsedBytes:  value(s.WritableBytes),
		InodesUsed: value(s.WritableInodes),
	}
}

// cpu leaves the rate out where it is 0: that is also its value before there are two
// readings, and kubelet computes a missing rate itself.
func cpu(u *runtime.Usage, nanoCores uint64) *runtimeapi.CpuUsage {
	c := &runtimeapi.CpuUsage{
		Timestamp:            nanos(u.At),
		UsageCoreNanoSeconds: value(u.CPUNanos),
	}
	if nanoCores > 0 {
		c.UsageNanoCores = value(nanoCores)
	}
	if u.PSI != nil {
		c.Psi = pressure(&u.PSI.CPU)
	}
	return c
}

func memory(u *runtime.Usage) *runtimeapi.MemoryUsage {
	m := &runtimeapi.MemoryUsage{
		Timestamp:       nanos(u.At),
		WorkingSetBytes: value(u.WorkingSetBytes),
		AvailableBytes:  optional(u.AvailableBytes),
		UsageBytes:      value(u.MemoryBytes),
		RssBytes:        value(u.RSSBytes),
		PageFaults:      value(u.PageFaults),
		MajorPageFaults: value(u.MajorPageFaults),
	}
	if u.PSI != nil {
		m.Psi = pressure(&u.PSI.Memory)
	}
	return m
}

func swap(u *runtime.Usage) *runtimeapi.SwapUsage {
	if u.SwapBytes == nil && u.SwapAvailableBytes == nil {
		return nil
	}
	return &runtimeapi.SwapUsage{
		Timestamp:          nanos(u.At),
		SwapAvailableBytes: optional(u.SwapAvailableBytes),
		SwapUsageBytes:     optional(u.SwapBytes),
	}
}

func blockIO(u *runtime.Usage) *runtimeapi.IoUsage {
	if u.PSI == nil {
		return nil
	}
	return &runtimeapi.IoUsage{Timestamp: nanos(u.At), Psi: pressure(&u.PSI.IO)}
}

func pressure(p *runtime.PSIPair) *runtimeapi.PsiStats {
	return &runtimeapi.PsiStats{Full: psiLine(&p.Full), Some: psiLine(&p.Some)}
}

// psiLine: the kernel's total is in microseconds, CRI's in nanoseconds.
func psiLine(l *runtime.PSILine) *runtimeapi.PsiData {
	return &runtimeapi.PsiData{
		Total: l.Total * uint64(time.Microsecond),
		Avg10: l.Avg10, Avg60: l.Avg60, Avg300: l.Avg300,
	}
}

// networkUsage: the first interface is the pod's default one.
func networkUsage(ifs []stats.Interface, at time.Time) *runtimeapi.NetworkUsage {
	if len(ifs) == 0 {
		return nil
	}
	n := &runtimeapi.NetworkUsage{Timestamp: nanos(at), DefaultInterface: iface(&ifs[0])}
	for i := range ifs[1:] {
		n.Interfaces = append(n.Interfaces, iface(&ifs[i+1]))
	}
	return n
}

func iface(i *stats.Interface) *runtimeapi.NetworkInterfaceUsage {
	return &runtimeapi.NetworkInterfaceUsage{
		Name:     i.Name,
		RxBytes:  value(i.RxBytes),
		RxErrors: value(i.RxErrors),
		TxBytes:  value(i.TxBytes),
		TxErrors: value(i.TxErrors),
	}
}

func value(v uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: v} }

func optional(v *uint64) *runtimeapi.UInt64Value {
	if v == nil {
		return nil
	}
	return value(*v)
}
