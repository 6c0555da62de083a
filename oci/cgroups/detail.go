package cgroups

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Detail is Usage with everything else that the kernel counts of a cgroup and its children. Sizes are
// bytes, times nanoseconds; pointers are nil, and lists empty, where the kernel does not say.
type Detail struct {
	Usage
	UserNanos, SystemNanos    uint64
	Periods, ThrottledPeriods uint64 // of CFS bandwidth, while there is a quota
	ThrottledNanos            uint64

	Cache, MappedFile               uint64
	ActiveFile                      uint64
	KernelMemory                    *uint64
	MaxMemory                       *uint64 // the highest Memory so far (v2: Linux 5.19)
	MemoryFailures                  uint64  // how often the limit was hit
	OwnPageFaults, OwnMajorFaults   uint64  // without children on v1; v2 does not tell them apart
	OOMKills                        uint64  // v1: without children
	PidsLimit                       *uint64 // nil for none
	Devices                         []DeviceIO
	HugePages                       []HugePages
	Processes, Descriptors, Sockets uint64 // where asked for; threads are Usage.Pids
}

// DeviceIO is what went to and from one block device.
type DeviceIO struct {
	Major, Minor          uint32
	ReadBytes, WriteBytes uint64
	Reads, Writes         uint64
}

// HugePages is the use of one size of huge pages ("2MB").
type HugePages struct {
	Size  string
	Bytes uint64
	Max   *uint64 // the highest so far; v2 does not keep it
}

// Detail reads the cgroup once, at several times the cost of Usage; with processes it looks at each of
// those too. A cgroup that is gone gives an error as Usage's.
func (c *Cgroup) Detail(processes bool) (*Detail, error) {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	d := &Detail{}
	d.At = time.Now()
	r := reader{buf: *b, detail: d}
	if c.t.mode == V2 {
		r.v2(c.unifiedDir(), &d.Usage)
		r.detailV2(c.unifiedDir(), d)
	} else {
		r.v1(c, &d.Usage)
		r.detailV1(c, d)
	}
	*b = r.buf[:0]
	if r.err != nil {
		return nil, r.err
	}
	if !processes {
		return d, nil
	}
	return d, c.countProcesses(d)
}

func (r *reader) detailV1(c *Cgroup, d *Detail) {
	acct, cpu, mem := c.dir("cpuacct"), c.dir("cpu"), c.dir("memory")
	d.UserNanos = number(r.file(acct, "cpuacct.usage_user", true))
	d.SystemNanos = number(r.file(acct, "cpuacct.usage_sys", true))
	fields(r.file(cpu, "cpu.stat", true), func(k string, v uint64) bool {
		switch k {
		case "nr_periods":
			d.Periods = v
		case "nr_throttled":
			d.ThrottledPeriods = v
		case "throttled_time":
			d.ThrottledNanos = v
		}
		return true
	})
	d.MaxMemory = limit(r.file(mem, "memory.max_usage_in_bytes", true))
	d.KernelMemory = limit(r.file(mem, "memory.kmem.usage_in_bytes", true))
	d.MemoryFailures = number(r.file(mem, "memory.failcnt", true))
	d.OOMKills = keyed(r.file(mem, "memory.oom_control", true), "oom_kill")
	d.PidsLimit = limit(r.file(c.dir("pids"), "pids.max", true))
	blkio := c.dir("blkio")
	blkioV1(&d.Devices, r.file(blkio, "blkio.throttle.io_service_bytes_recursive", true), bytesOf)
	blkioV1(&d.Devices, r.file(blkio, "blkio.throttle.io_serviced_recursive", true), countsOf)
	if h := c.dir("hugetlb"); h != "" {
		d.HugePages = r.hugePages(h, ".usage_in_bytes", ".max_usage_in_bytes")
	}
	if u := c.unifiedDir(); u != "" { // a hybrid machine: cgroup2 tells pressure whatever is enabled
		r.pressure(u, &d.Usage)
		if len(d.HugePages) == 0 {
			d.HugePages = r.hugePages(u, ".current", "")
		}
	}
}

func (r *reader) detailV2(dir string, d *Detail) {
	d.MaxMemory = limit(r.file(dir, "memory.peak", true))
	events := r.file(dir, "memory.events", true)
	d.MemoryFailures = keyed(events, "max")
	d.OOMKills = keyed(events, "oom_kill")
	d.PidsLimit = limit(r.file(dir, "pids.max", true))
	d.Devices = ioStat(r.file(dir, "io.stat", true))
	d.HugePages = r.hugePages(dir, ".current", "")
}

// memoryStatV1 takes what parseMemoryStatV1 leaves.
func (d *Detail) memoryStatV1(b []byte) {
	fields(b, func(k string, v uint64) bool {
		switch k {
		case "pgfault":
			d.OwnPageFaults = v
		case "pgmajfault":
			d.OwnMajorFaults = v
		case "total_cache":
			d.Cache = v
		case "total_mapped_file":
			d.MappedFile = v
		case "total_active_file":
			d.ActiveFile = v
		}
		return true
	})
}

// memoryStatV2 takes what parseMemoryStatV2 leaves. "kernel" is there since Linux 5.18; before, its
// parts are.
func (d *Detail) memoryStatV2(b []byte) {
	var kernel, parts uint64
	fields(b, func(k string, v uint64) bool {
		switch k {
		case "file":
			d.Cache = v
		case "file_mapped":
			d.MappedFile = v
		case "active_file":
			d.ActiveFile = v
		case "kernel":
			kernel = v
		case "kernel_stack", "pagetables", "percpu", "slab":
			parts += v
		}
		return true
	})
	if kernel == 0 {
		kernel = parts
	}
	d.KernelMemory = &kernel
	d.OwnPageFaults, d.OwnMajorFaults = d.PageFaults, d.MajorPageFaults
}

func (d *Detail) cpuStatV2(b []byte) {
	fields(b, func(k string, v uint64) bool {
		switch k {
		case "user_usec":
			d.UserNanos = v * 1000
		case "system_usec":
			d.SystemNanos = v * 1000
		case "nr_periods":
			d.Periods = v
		case "nr_throttled":
			d.ThrottledPeriods = v
		case "throttled_usec":
			d.ThrottledNanos = v * 1000
		}
		return true
	})
}

// keyed is the number of one "key number" line, 0 where it is not there.
func keyed(b []byte, key string) (n uint64) {
	fields(b, func(k string, v uint64) bool {
		if k == key {
			n = v
		}
		return k != key
	})
	return n
}

// blkioV1 adds one file's lines, "8:0 Read 4096", to the devices'.
func blkioV1(all *[]DeviceIO, b []byte, into func(*DeviceIO) (read, write *uint64)) {
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) != 3 {
			continue // "Total 4096"
		}
		major, minor, ok := deviceNumber(f[0])
		v, err := strconv.ParseUint(f[2], 10, 64)
		if !ok || err != nil {
			continue
		}
		read, write := into(deviceOf(all, major, minor))
		switch f[1] {
		case "Read":
			*read = v
		case "Write":
			*write = v
		}
	}
}

func bytesOf(d *DeviceIO) (read, write *uint64)  { return &d.ReadBytes, &d.WriteBytes }
func countsOf(d *DeviceIO) (read, write *uint64) { return &d.Reads, &d.Writes }

func deviceOf(all *[]DeviceIO, major, minor uint32) *DeviceIO {
	i := slices.IndexFunc(*all, func(d DeviceIO) bool { return d.Major == major && d.Minor == minor })
	if i < 0 {
		i = len(*all)
		*all = append(*all, DeviceIO{Major: major, Minor: minor})
	}
	return &(*all)[i]
}

// ioStat reads v2's io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0".
func ioStat(b []byte) (all []DeviceIO) {
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) < 2 {
			continue // a device that was never used
		}
		major, minor, ok := deviceNumber(f[0])
		if !ok {
			continue
		}
		d := deviceOf(&all, major, minor)
		for _, kv := range f[1:] {
			k, v, _ := strings.Cut(kv, "=")
			n, _ := strconv.ParseUint(v, 10, 64)
			switch k {
			case "rbytes":
				d.ReadBytes = n
			case "wbytes":
				d.WriteBytes = n
			case "rios":
				d.Reads = n
			case "wios":
				d.Writes = n
			}
		}
	}
	return all
}

func deviceNumber(s string) (major, minor uint32, ok bool) {
	a, b, _ := strings.Cut(s, ":")
	x, errA := strconv.ParseUint(a, 10, 32)
	y, errB := strconv.ParseUint(b, 10, 32)
	return uint32(x), uint32(y), errA == nil && errB == nil
}

// hugePageSizes are the machine's, as cgroup files name them.
var hugePageSizes = sync.OnceValue(func() []string {
	entries, _ := os.ReadDir("/sys/kernel/mm/hugepages") // "hugepages-2048kB"
	var sizes []string
	for _, e := range entries {
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(e.Name(), "hugepages-"), "kB"), 10, 64)
		switch {
		case err != nil:
		case kib >= 1<<20:
			sizes = append(sizes, strconv.FormatUint(kib>>20, 10)+"GB")
		case kib >= 1<<10:
			sizes = append(sizes, strconv.FormatUint(kib>>10, 10)+"MB")
		default:
			sizes = append(sizes, strconv.FormatUint(kib, 10)+"KB")
		}
	}
	slices.Sort(sizes)
	return sizes
})

// hugePages reads the sizes that the cgroup has files of.
func (r *reader) hugePages(dir, usage, most string) (all []HugePages) {
	for _, size := range hugePageSizes() {
		b := r.file(dir, "hugetlb."+size+usage, true)
		if b == nil {
			continue
		}
		h := HugePages{Size: size, Bytes: number(b)}
		if most != "" {
			h.Max = limit(r.file(dir, "hugetlb."+size+most, true))
		}
		all = append(all, h)
	}
	return all
}
