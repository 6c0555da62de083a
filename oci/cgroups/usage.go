package cgroups

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is one reading. Sizes are bytes; pointers are nil where the kernel does not say.
type Usage struct {
	At              time.Time
	CPUNanos        uint64
	Memory          uint64 // everything charged, page cache and kernel memory too
	InactiveFile    uint64 // page cache that would be reclaimed first
	RSS             uint64 // anonymous memory
	PageFaults      uint64
	MajorPageFaults uint64
	MemoryLimit     *uint64 // of this cgroup or, on v1, the lowest above it
	Swap            *uint64
	SwapLimit       *uint64 // of swap alone
	Pids            uint64
	CPUPressure     *Pressure
	MemoryPressure  *Pressure
	IOPressure      *Pressure
}

// WorkingSet is Memory less InactiveFile, never below zero.
func (u *Usage) WorkingSet() uint64 { return u.Memory - min(u.Memory, u.InactiveFile) }

// Pressure is one PSI file (Documentation/accounting/psi.rst).
type Pressure struct{ Some, Full PressureLine }

// PressureLine: averages in percent, Total in microseconds.
type PressureLine struct {
	Avg10, Avg60, Avg300 float64
	Total                uint64
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 8192); return &b }}

// Usage reads the cgroup once. A cgroup that is gone gives an error that wraps
// fs.ErrNotExist or ENODEV (see Gone).
func (c *Cgroup) Usage() (*Usage, error) {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	r := reader{buf: *b}
	u := &Usage{At: time.Now()}
	if c.t.mode == V2 {
		r.v2(c.unifiedDir(), u)
	} else {
		r.v1(c, u)
	}
	*b = r.buf[:0]
	return u, r.err
}

// Gone reports that an error of Usage, Update, Freeze or Thaw means that the cgroup does
// not exist.
func Gone(err error) bool { return isGone(err) }

// reader reads files into one buffer and keeps the first error. A file that the machine
// has not (a controller that is off) reads as nothing when the cgroup itself is there.
type reader struct {
	buf    []byte
	err    error
	detail *Detail // for those lines of the same files that Usage leaves; may be nil
}

func (r *reader) file(dir, name string, optional bool) []byte {
	if r.err != nil || dir == "" {
		return nil
	}
	b, err := readFile(dir, name, r.buf)
	if err != nil {
		if !optional || !(errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP)) {
			r.err = err
		}
		return nil
	}
	r.buf = b
	return b
}

func (r *reader) v1(c *Cgroup, u *Usage) {
	u.CPUNanos = number(r.file(c.dir("cpuacct"), "cpuacct.usage", false))
	mem := c.dir("memory")
	u.Memory = number(r.file(mem, "memory.usage_in_bytes", false))
	stat := r.file(mem, "memory.stat", false)
	parseMemoryStatV1(stat, u)
	if r.detail != nil {
		r.detail.memoryStatV1(stat)
	}
	u.Pids = number(r.file(c.dir("pids"), "pids.current", false))
}

func (r *reader) v2(dir string, u *Usage) {
	// cpu.stat is there in every cgroup, whatever is enabled; the rest needs controllers.
	stat := r.file(dir, "cpu.stat", false)
	if r.detail != nil {
		r.detail.cpuStatV2(stat)
	}
	fields(stat, func(k string, v uint64) bool {
		if k == "usage_usec" {
			u.CPUNanos = v * 1000
			return false
		}
		return true
	})
	if b := r.file(dir, "memory.current", true); b != nil {
		u.Memory = number(b)
		stat := r.file(dir, "memory.stat", true)
		parseMemoryStatV2(stat, u)
		if r.detail != nil {
			r.detail.memoryStatV2(stat)
		}
		u.MemoryLimit = limit(r.file(dir, "memory.max", true))
		if b := r.file(dir, "memory.swap.current", true); b != nil {
			n := number(b)
			u.Swap = &n
			u.SwapLimit = limit(r.file(dir, "memory.swap.max", true))
		}
	}
	u.Pids = number(r.file(dir, "pids.current", true))
	r.pressure(dir, u)
}

func (r *reader) pressure(dir string, u *Usage) {
	u.CPUPressure = parsePressure(r.file(dir, "cpu.pressure", true))
	u.MemoryPressure = parsePressure(r.file(dir, "memory.pressure", true))
	u.IOPressure = parsePressure(r.file(dir, "io.pressure", true))
}

// parseMemoryStatV1 takes the hierarchical ("total_") figures: the cgroup with its
// children. A limit at or above the largest page count is none.
func parseMemoryStatV1(b []byte, u *Usage) {
	const unlimited = math.MaxInt64 &^ 0xffff // the kernel rounds down to a page; pages are up to 64 KiB
	var memsw *uint64
	fields(b, func(k string, v uint64) bool {
		switch k {
		case "hierarchical_memory_limit":
			if v < unlimited {
				u.MemoryLimit = &v
			}
		case "hierarchical_memsw_limit":
			if v < unlimited {
				memsw = &v
			}
		case "total_inactive_file":
			u.InactiveFile = v
		case "total_rss":
			u.RSS = v
		case "total_pgfault":
			u.PageFaults = v
		case "total_pgmajfault":
			u.MajorPageFaults = v
		case "total_swap":
			u.Swap = &v
		}
		return true
	})
	if memsw != nil && u.MemoryLimit != nil {
		n := *memsw - min(*memsw, *u.MemoryLimit)
		u.SwapLimit = &n
	}
}

func parseMemoryStatV2(b []byte, u *Usage) {
	fields(b, func(k string, v uint64) bool {
		switch k {
		case "anon":
			u.RSS = v
		case "inactive_file":
			u.InactiveFile = v
		case "pgfault":
			u.PageFaults = v
		case "pgmajfault":
			u.MajorPageFaults = v
		}
		return true
	})
}

// fields calls f with each "key number" line until it returns false.
func fields(b []byte, f func(k string, v uint64) bool) {
	for len(b) > 0 {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		i := bytes.IndexByte(line, ' ')
		if i < 0 {
			continue
		}
		v, ok := parseUint(line[i+1:])
		if ok && !f(string(line[:i]), v) {
			return
		}
	}
}

func parseUint(b []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
	return n, err == nil
}

func number(b []byte) uint64 {
	n, _ := parseUint(b)
	return n
}

// limit reads a v2 limit: nil for "max" and for no file.
func limit(b []byte) *uint64 {
	n, ok := parseUint(b)
	if !ok {
		return nil
	}
	return &n
}

// parsePressure reads "some avg10=0.00 avg60=0.00 avg300=0.00 total=0" and the same with
// "full"; nil for no file (PSI off, or an old kernel).
func parsePressure(b []byte) *Pressure {
	if b == nil {
		return nil
	}
	p := &Pressure{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		into := &p.Some
		if f[0] == "full" {
			into = &p.Full
		}
		for _, kv := range f[1:] {
			k, v, _ := strings.Cut(kv, "=")
			switch k {
			case "avg10":
				into.Avg10, _ = strconv.ParseFloat(v, 64)
			case "avg60":
				into.Avg60, _ = strconv.ParseFloat(v, 64)
			case "avg300":
				into.Avg300, _ = strconv.ParseFloat(v, 64)
			case "total":
				into.Total, _ = strconv.ParseUint(v, 10, 64)
			}
		}
	}
	return p
}
