package metrics

import (
	"strconv"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/runtime"
	"github.com/slipway-cri/slipway/agent/stats"
)

// The kernel's own values where nobody asked for others (sched-bwc.rst, cpu.shares).
const (
	defaultPeriod = 100_000
	defaultShares = 1024
)

type (
	resources = runtimeapi.LinuxContainerResources
	pressure  = runtime.Pressure
	deviceIO  = runtime.DeviceIO
	values    = func(*source) []sample
)

func one(v uint64) []sample { return []sample{{value: v}} }

func seconds(nanos uint64) uint64 { return nanos / uint64(time.Second) }

func orZero(v *uint64) uint64 {
	if v == nil {
		return 0
	}
	return *v
}

// positive is v, or otherwise where the request left it out or said "no limit".
func positive(v int64, otherwise uint64) uint64 {
	if v <= 0 {
		return otherwise
	}
	return uint64(v)
}

func started(s *source) []sample {
	if s.started.IsZero() {
		return nil
	}
	return one(uint64(s.started.Unix()))
}

// figure is a number that every cgroup has.
func figure(f func(*runtime.Detail) uint64) values {
	return labelled(func(d *runtime.Detail) []sample { return one(f(d)) })
}

// known is a number that some kernels do not keep.
func known(f func(*runtime.Detail) *uint64) values {
	return labelled(func(d *runtime.Detail) []sample {
		if v := f(d); v != nil {
			return one(*v)
		}
		return nil
	})
}

func labelled(f func(*runtime.Detail) []sample) values {
	return func(s *source) []sample {
		if s.detail == nil {
			return nil
		}
		return f(s.detail)
	}
}

// withQuota is a number that means something where there is a CPU quota.
func withQuota(f func(*runtime.Detail) uint64) values {
	return func(s *source) []sample {
		if s.detail == nil || s.limits.GetCpuQuota() <= 0 && s.detail.Periods == 0 {
			return nil
		}
		return one(f(s.detail))
	}
}

// ofContainers leaves pods out: their processes are those of their containers.
func ofContainers(f func(*runtime.Detail) uint64) values {
	return func(s *source) []sample {
		if s.container == nil || s.detail == nil {
			return nil
		}
		return one(f(s.detail))
	}
}

func faults(d *runtime.Detail) []sample {
	return []sample{
		{d.OwnPageFaults, []string{"pgfault", "container"}},
		{d.OwnMajorFaults, []string{"pgmajfault", "container"}},
		{d.PageFaults, []string{"pgfault", "hierarchy"}},
		{d.MajorPageFaults, []string{"pgmajfault", "hierarchy"}},
	}
}

func devices(f func(*deviceIO) uint64) values {
	return func(s *source) (all []sample) {
		if s.detail == nil {
			return nil
		}
		for i := range s.detail.Devices {
			d := &s.detail.Devices[i]
			all = append(all, sample{f(d), []string{s.device(d.Major, d.Minor)}})
		}
		return all
	}
}

func deviceBytes(s *source) (all []sample) {
	if s.detail == nil {
		return nil
	}
	for _, d := range s.detail.Devices {
		name, major, minor := s.device(d.Major, d.Minor), strconv.Itoa(int(d.Major)), strconv.Itoa(int(d.Minor))
		all = append(all,
			sample{d.ReadBytes, []string{name, major, minor, "Read"}},
			sample{d.WriteBytes, []string{name, major, minor, "Write"}})
	}
	return all
}

// filesystem is of containers: a pod writes nothing of its own.
func filesystem(f func(*source) uint64) values {
	return func(s *source) []sample {
		if s.container == nil {
			return nil
		}
		return []sample{{f(s), []string{s.fs.Device}}}
	}
}

func written(s *source) []sample {
	if s.container == nil || s.container.WritableAt.IsZero() {
		return nil
	}
	return []sample{{s.container.WritableBytes, []string{s.fs.Device}}}
}

func hugePages(d *runtime.Detail) (all []sample) {
	for _, h := range d.HugePages {
		all = append(all, sample{h.Bytes, []string{h.Size}})
	}
	return all
}

func maxHugePages(d *runtime.Detail) (all []sample) {
	for _, h := range d.HugePages {
		if h.Max != nil {
			all = append(all, sample{*h.Max, []string{h.Size}})
		}
	}
	return all
}

func links(f func(*stats.Interface) uint64) values {
	return func(s *source) (all []sample) {
		for i := range s.links {
			all = append(all, sample{f(&s.links[i]), []string{s.links[i].Name}})
		}
		return all
	}
}

// stalled and waiting: the kernel's totals are in microseconds.
func stalled(f func(*runtime.Detail) *pressure) values {
	return known(func(d *runtime.Detail) *uint64 {
		p := f(d)
		if p == nil {
			return nil
		}
		return whole(p.Full.Total)
	})
}

func waiting(f func(*runtime.Detail) *pressure) values {
	return known(func(d *runtime.Detail) *uint64 {
		p := f(d)
		if p == nil {
			return nil
		}
		return whole(p.Some.Total)
	})
}

func whole(micros uint64) *uint64 {
	s := micros / uint64(time.Second/time.Microsecond)
	return &s
}

func ulimits(s *source) []sample {
	if s.container == nil || s.container.OpenFiles == nil {
		return nil
	}
	return []sample{{*s.container.OpenFiles, []string{"max_open_files"}}}
}

// limit is of what was asked for. A pod for which nothing was asked has none; for a container the
// kernel's own values hold.
func limit(f func(*resources) uint64) values {
	return func(s *source) []sample {
		if s.limits == nil && s.container == nil {
			return nil
		}
		return one(f(s.limits))
	}
}

func quota(s *source) []sample {
	if s.limits.GetCpuQuota() <= 0 {
		return nil
	}
	return one(uint64(s.limits.GetCpuQuota()))
}

func reservation(r *resources) uint64 {
	n, err := strconv.ParseUint(r.GetUnified()["memory.min"], 10, 64)
	if err != nil {
		return 0 // not asked for, or "max", which is no number
	}
	return n
}
