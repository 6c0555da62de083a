package cgroups

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	ocgroups "github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // device rules: v1 files, v2 eBPF
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Update sets the limits that r has and leaves the others: nil pointers, zero memory and
// CPU values, empty strings and an absent device list mean "as it is"; -1 means unlimited.
func (c *Cgroup) Update(r *specs.LinuxResources) error {
	if r == nil {
		return nil
	}
	if err := c.apply(r); err != nil {
		return fmt.Errorf("cgroup %s: %w", c.path, err)
	}
	return nil
}

func (c *Cgroup) apply(r *specs.LinuxResources) error {
	res, err := translate(r, c.t.mode == V2)
	if err != nil {
		return err
	}
	if c.t.mode == V2 {
		return c.applyV2(res)
	}
	return c.applyV1(res)
}

func (c *Cgroup) applyV2(res *ocgroups.Resources) error {
	if !slices.Contains(c.t.controllers, "hugetlb") {
		if err := needHugetlb(res); err != nil {
			return err
		}
		res.HugetlbLimit = nil
	}
	m, err := fs2.NewManager(&ocgroups.Cgroup{Resources: &ocgroups.Resources{}}, c.unifiedDir())
	if err != nil {
		return err
	}
	return m.Set(res)
}

// v1Groups write one controller's limits each; wants says whether r has any, so that
// what nobody asked for needs no controller and costs nothing.
var v1Groups = []struct {
	name  string
	wants func(*ocgroups.Resources) bool
	set   func(string, *ocgroups.Resources) error
}{
	{"cpuset", func(r *ocgroups.Resources) bool { return r.CpusetCpus != "" || r.CpusetMems != "" }, (&fs.CpusetGroup{}).Set},
	{"devices", func(r *ocgroups.Resources) bool { return !r.SkipDevices }, (&fs.DevicesGroup{}).Set},
	{"memory", func(r *ocgroups.Resources) bool {
		return r.Memory != 0 || r.MemoryReservation != 0 || r.MemorySwap != 0 || r.OomKillDisable || r.MemorySwappiness != nil
	}, (&fs.MemoryGroup{}).Set},
	{"cpu", func(r *ocgroups.Resources) bool {
		return r.CpuShares != 0 || r.CpuQuota != 0 || r.CpuPeriod != 0 || r.CpuBurst != nil ||
			r.CpuRtRuntime != 0 || r.CpuRtPeriod != 0 || r.CPUIdle != nil
	}, (&fs.CpuGroup{}).Set},
	{"pids", func(r *ocgroups.Resources) bool { return r.PidsLimit != nil }, (&fs.PidsGroup{}).Set},
	{"blkio", func(r *ocgroups.Resources) bool {
		return r.BlkioWeight != 0 || r.BlkioLeafWeight != 0 || len(r.BlkioWeightDevice) > 0 ||
			len(r.BlkioThrottleReadBpsDevice) > 0 || len(r.BlkioThrottleWriteBpsDevice) > 0 ||
			len(r.BlkioThrottleReadIOPSDevice) > 0 || len(r.BlkioThrottleWriteIOPSDevice) > 0
	}, (&fs.BlkioGroup{}).Set},
	{"net_cls", func(r *ocgroups.Resources) bool { return r.NetClsClassid != 0 }, (&fs.NetClsGroup{}).Set},
	{"net_prio", func(r *ocgroups.Resources) bool { return len(r.NetPrioIfpriomap) > 0 }, (&fs.NetPrioGroup{}).Set},
	{"rdma", func(r *ocgroups.Resources) bool { return len(r.Rdma) > 0 }, (&fs.RdmaGroup{}).Set},
}

func (c *Cgroup) applyV1(res *ocgroups.Resources) error {
	if !c.t.memsw && res.MemorySwap != 0 && (res.MemorySwap == -1 || res.MemorySwap == res.Memory) {
		res.MemorySwap = 0 // "no limit" and "no swap" ask nothing of a kernel that does not account it
	}
	for _, g := range v1Groups {
		if !g.wants(res) {
			continue
		}
		d := c.dir(g.name)
		if d == "" {
			return fmt.Errorf("limits of controller %q: it is not mounted", g.name)
		}
		if err := g.set(d, res); err != nil {
			return err
		}
	}
	return c.applyHugetlb(res)
}

// applyHugetlb writes to the v1 controller, or to cgroup2's where a hybrid machine has it
// there.
func (c *Cgroup) applyHugetlb(res *ocgroups.Resources) error {
	switch d := c.dir("hugetlb"); {
	case len(res.HugetlbLimit) == 0:
		return nil
	case d != "":
		return (&fs.HugetlbGroup{}).Set(d, res)
	case !slices.Contains(c.t.controllers, "hugetlb"):
		return needHugetlb(res)
	}
	if err := enableControllers(c.t.unified, c.path, []string{"hugetlb"}); err != nil {
		return err
	}
	for _, h := range res.HugetlbLimit {
		v := strconv.FormatUint(h.Limit, 10)
		if err := writeFile(c.unifiedDir(), "hugetlb."+h.Pagesize+".max", v); err != nil {
			return err
		}
		if err := writeFile(c.unifiedDir(), "hugetlb."+h.Pagesize+".rsvd.max", v); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// needHugetlb passes over limits of zero: the kubelet sends one for every page size, also
// where the controller is not built in.
func needHugetlb(res *ocgroups.Resources) error {
	for _, h := range res.HugetlbLimit {
		if h.Limit != 0 {
			return fmt.Errorf("limit of %s huge pages: controller \"hugetlb\" is not mounted", h.Pagesize)
		}
	}
	return nil
}
