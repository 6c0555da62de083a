package cgroups

import (
	"fmt"
	"strings"

	ocgroups "github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// shares of cpu.shares that the kernel keeps (kernel/sched: MIN_SHARES, MAX_SHARES).
const minShares, maxShares = 2, 262144

// translate maps runtime-spec resources onto the library's. On v2 CPU shares become a
// weight by the field's current formula (quadratic in log2, so that 1024 shares are a
// weight of 100), and block IO weights are stretched to 1…10000 by the library.
// Without device rules the device filter is left as it is.
func translate(r *specs.LinuxResources, v2 bool) (*ocgroups.Resources, error) {
	out := &ocgroups.Resources{SkipDevices: len(r.Devices) == 0}
	if c := r.CPU; c != nil {
		translateCPU(out, c, v2)
	}
	if m := r.Memory; m != nil {
		translateMemory(out, m)
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		limit := *r.Pids.Limit
		out.PidsLimit = &limit
	}
	if b := r.BlockIO; b != nil {
		translateBlockIO(out, b)
	}
	for _, h := range r.HugepageLimits {
		out.HugetlbLimit = append(out.HugetlbLimit, &ocgroups.HugepageLimit{Pagesize: h.Pagesize, Limit: h.Limit})
	}
	if n := r.Network; n != nil {
		out.NetClsClassid = deref(n.ClassID)
		for _, p := range n.Priorities {
			out.NetPrioIfpriomap = append(out.NetPrioIfpriomap, &ocgroups.IfPrioMap{Interface: p.Name, Priority: int64(p.Priority)})
		}
	}
	for name, d := range r.Rdma {
		if out.Rdma == nil {
			out.Rdma = map[string]ocgroups.LinuxRdma{}
		}
		out.Rdma[name] = ocgroups.LinuxRdma{HcaHandles: d.HcaHandles, HcaObjects: d.HcaObjects}
	}
	if len(r.Unified) > 0 {
		if !v2 {
			return nil, fmt.Errorf("linux.resources.unified: the machine's cgroups are v1")
		}
		out.Unified = r.Unified
	}
	return out, translateDevices(out, r.Devices)
}

func translateCPU(out *ocgroups.Resources, c *specs.LinuxCPU, v2 bool) {
	if s := deref(c.Shares); s != 0 {
		s = min(max(s, minShares), maxShares)
		if v2 {
			out.CpuWeight = ocgroups.ConvertCPUSharesToCgroupV2Value(s)
		} else {
			out.CpuShares = s
		}
	}
	out.CpuQuota = deref(c.Quota)
	out.CpuPeriod = deref(c.Period)
	out.CpuBurst = c.Burst
	out.CpuRtRuntime = deref(c.RealtimeRuntime)
	out.CpuRtPeriod = deref(c.RealtimePeriod)
	out.CpusetCpus = c.Cpus
	out.CpusetMems = c.Mems
	out.CPUIdle = c.Idle
}

func translateMemory(out *ocgroups.Resources, m *specs.LinuxMemory) {
	out.Memory = deref(m.Limit)
	out.MemoryReservation = deref(m.Reservation)
	out.MemorySwap = deref(m.Swap)
	out.MemorySwappiness = m.Swappiness
	out.OomKillDisable = deref(m.DisableOOMKiller)
	out.MemoryCheckBeforeUpdate = deref(m.CheckBeforeUpdate)
}

func translateBlockIO(out *ocgroups.Resources, b *specs.LinuxBlockIO) {
	out.BlkioWeight = deref(b.Weight)
	out.BlkioLeafWeight = deref(b.LeafWeight)
	for _, w := range b.WeightDevice {
		out.BlkioWeightDevice = append(out.BlkioWeightDevice,
			ocgroups.NewWeightDevice(w.Major, w.Minor, deref(w.Weight), deref(w.LeafWeight)))
	}
	for _, t := range []struct {
		from []specs.LinuxThrottleDevice
		to   *[]*ocgroups.ThrottleDevice
	}{
		{b.ThrottleReadBpsDevice, &out.BlkioThrottleReadBpsDevice},
		{b.ThrottleWriteBpsDevice, &out.BlkioThrottleWriteBpsDevice},
		{b.ThrottleReadIOPSDevice, &out.BlkioThrottleReadIOPSDevice},
		{b.ThrottleWriteIOPSDevice, &out.BlkioThrottleWriteIOPSDevice},
	} {
		for _, d := range t.from {
			*t.to = append(*t.to, ocgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
		}
	}
}

// defaultDevices may always be used (runtime-spec, config-linux.md, "Default Devices"):
// making any node, the six character devices, ptys and the console.
var defaultDevices = []devices.Rule{
	{Type: 'c', Major: -1, Minor: -1, Permissions: "m", Allow: true},
	{Type: 'b', Major: -1, Minor: -1, Permissions: "m", Allow: true},
	{Type: 'c', Major: 1, Minor: 3, Permissions: "rwm", Allow: true},    // null
	{Type: 'c', Major: 1, Minor: 5, Permissions: "rwm", Allow: true},    // zero
	{Type: 'c', Major: 1, Minor: 7, Permissions: "rwm", Allow: true},    // full
	{Type: 'c', Major: 1, Minor: 8, Permissions: "rwm", Allow: true},    // random
	{Type: 'c', Major: 1, Minor: 9, Permissions: "rwm", Allow: true},    // urandom
	{Type: 'c', Major: 5, Minor: 0, Permissions: "rwm", Allow: true},    // tty
	{Type: 'c', Major: 5, Minor: 1, Permissions: "rwm", Allow: true},    // console
	{Type: 'c', Major: 5, Minor: 2, Permissions: "rwm", Allow: true},    // ptmx
	{Type: 'c', Major: 136, Minor: -1, Permissions: "rwm", Allow: true}, // pts
}

func translateDevices(out *ocgroups.Resources, rules []specs.LinuxDeviceCgroup) error {
	if len(rules) == 0 {
		return nil
	}
	for i, d := range rules {
		r := &devices.Rule{Type: 'a', Major: devices.Wildcard, Minor: devices.Wildcard, Allow: d.Allow}
		switch d.Type {
		case "", "a":
		case "c", "u":
			r.Type = devices.CharDevice
		case "b":
			r.Type = devices.BlockDevice
		default:
			return fmt.Errorf("linux.resources.devices[%d].type: %q is none of a, b, c, u", i, d.Type)
		}
		perms, ok := access(d.Access)
		if !ok {
			return fmt.Errorf("linux.resources.devices[%d].access: %q has more than r, w and m", i, d.Access)
		}
		r.Permissions = perms
		if d.Major != nil {
			r.Major = *d.Major
		}
		if d.Minor != nil {
			r.Minor = *d.Minor
		}
		out.Devices = append(out.Devices, r)
	}
	for i := range defaultDevices {
		out.Devices = append(out.Devices, &defaultDevices[i])
	}
	return nil
}

// access puts the letters into the kernel's order; "" means all three.
func access(s string) (devices.Permissions, bool) {
	if s == "" {
		return "rwm", true
	}
	if strings.Trim(s, "rwm") != "" {
		return "", false
	}
	var p devices.Permissions
	for _, c := range "rwm" {
		if strings.ContainsRune(s, c) {
			p += devices.Permissions(c)
		}
	}
	return p, true
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
