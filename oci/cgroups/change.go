package cgroups

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	ocgroups "github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Change is Update as a transaction: when one limit is refused, those before it are put back, and
// undo, which may be nil, puts all of them back later. Device rules and limits of single block devices
// are not put back: the kernel tells of them in another form than it takes.
func (c *Cgroup) Change(r *specs.LinuxResources) (undo func() error, err error) {
	if r == nil {
		return nil, nil
	}
	res, err := translate(r, c.t.mode == V2)
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", c.path, err)
	}
	old, err := c.keep(res)
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", c.path, err)
	}
	undo = func() error { return putBack(old) }
	if err := c.Update(r); err != nil {
		return nil, errors.Join(err, undo())
	}
	return undo, nil
}

// kept is a file's content before a change.
type kept struct{ dir, name, value string }

// keep reads the files that res changes. One that is not there is not changed either.
func (c *Cgroup) keep(res *ocgroups.Resources) (all []kept, err error) {
	for _, f := range c.touched(res) {
		if f.dir == "" {
			continue
		}
		f.value, err = readString(f.dir, f.name)
		switch {
		case errors.Is(err, unix.ENOENT):
		case err != nil:
			return nil, err
		default:
			all = append(all, f)
		}
	}
	return all, nil
}

// touched are the files of limits that res has. It may name more than are written.
func (c *Cgroup) touched(res *ocgroups.Resources) (all []kept) {
	v2 := c.t.mode == V2
	add := func(controller string, wanted bool, v1, unified []string) {
		names := v1
		if v2 {
			names = unified
		}
		for _, n := range names {
			if wanted {
				all = append(all, kept{dir: c.dir(controller), name: n})
			}
		}
	}
	add("cpuset", res.CpusetCpus != "" || res.CpusetMems != "",
		[]string{"cpuset.cpus", "cpuset.mems"}, []string{"cpuset.cpus", "cpuset.mems"})
	add("memory", res.Memory != 0 || res.MemorySwap != 0 || res.MemoryReservation != 0 || res.MemorySwappiness != nil,
		[]string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.swappiness"},
		[]string{"memory.max", "memory.swap.max", "memory.low"})
	add("cpu", res.CpuShares != 0 || res.CpuWeight != 0 || res.CpuQuota != 0 || res.CpuPeriod != 0 || res.CpuBurst != nil || res.CPUIdle != nil,
		[]string{"cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.cfs_burst_us", "cpu.idle"},
		[]string{"cpu.weight", "cpu.max", "cpu.max.burst", "cpu.idle"})
	add("pids", res.PidsLimit != nil, []string{"pids.max"}, []string{"pids.max"})
	for _, h := range res.HugetlbLimit {
		all = append(all, c.hugetlbFiles(h.Pagesize)...)
	}
	for _, name := range slices.Sorted(maps.Keys(res.Unified)) {
		all = append(all, kept{dir: c.unifiedDir(), name: name})
	}
	return all
}

// hugetlbFiles are v1's, or cgroup2's where the controller is there.
func (c *Cgroup) hugetlbFiles(size string) []kept {
	if d := c.t.by["hugetlb"]; d != "" {
		dir := d + c.path
		return []kept{{dir: dir, name: "hugetlb." + size + ".limit_in_bytes"}, {dir: dir, name: "hugetlb." + size + ".rsvd.limit_in_bytes"}}
	}
	dir := c.unifiedDir()
	return []kept{{dir: dir, name: "hugetlb." + size + ".max"}, {dir: dir, name: "hugetlb." + size + ".rsvd.max"}}
}

// putBack writes what differs from old. Limits depend on each other (memory and memory with swap, quota
// and period), so it goes round as long as that brings any further.
func putBack(old []kept) error {
	left := old
	for {
		var errs []error
		var failed []kept
		for _, f := range left {
			if err := f.write(); err != nil {
				errs, failed = append(errs, fmt.Errorf("put back: %w", err)), append(failed, f)
			}
		}
		if len(failed) == 0 || len(failed) == len(left) {
			return errors.Join(errs...)
		}
		left = failed
	}
}

func (f kept) write() error {
	now, err := readString(f.dir, f.name)
	if err != nil || now == f.value {
		return err
	}
	for line := range strings.SplitSeq(f.value, "\n") {
		if err := writeFile(f.dir, f.name, line+"\n"); err != nil { // a newline alone empties a cpuset
			return err
		}
	}
	return nil
}

// SetOOMScore sets the oom_score_adj (proc_pid_oom_score_adj(5)) of process pid and of all in the cgroup that
// have the same, those too that are born meanwhile: who has another has chosen it. undo puts the
// old one back. A process that ends meanwhile is no error.
func (c *Cgroup) SetOOMScore(pid, adj int) (undo func() error, err error) {
	was, err := readString("/proc/"+strconv.Itoa(pid), "oom_score_adj")
	if err != nil {
		return nil, err
	}
	set, seen := []int{}, map[int]bool{}
	undo = func() error {
		var errs []error
		for _, pid := range set {
			errs = append(errs, writeScore(pid, was))
		}
		return errors.Join(errs...)
	}
	for more := true; more; {
		more = false
		pids, err := c.Pids()
		if err != nil {
			return nil, errors.Join(err, undo())
		}
		for _, pid := range pids {
			if seen[pid] {
				continue
			}
			seen[pid], more = true, true
			v, err := readString("/proc/"+strconv.Itoa(pid), "oom_score_adj")
			if err == nil && v == was {
				if err = writeScore(pid, strconv.Itoa(adj)); err == nil {
					set = append(set, pid)
				}
			}
			if err != nil && !ended(err) {
				return nil, errors.Join(err, undo())
			}
		}
	}
	return undo, nil
}

func writeScore(pid int, v string) error {
	if err := writeFile("/proc/"+strconv.Itoa(pid), "oom_score_adj", v); err != nil && !ended(err) {
		return err
	}
	return nil
}

func ended(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) }
