package scrape

import (
	"bytes"
	"os"
	"runtime"
	rt "runtime/metrics"
	"strconv"
	"strings"
	"syscall"
)

// goFigures are read from runtime/metrics, which stops nothing; names as Prometheus' Go client has them.
var goFigures = []struct{ source, name, kind, help string }{
	{"/sched/goroutines:goroutines", "go_goroutines", gauge, "Goroutines that exist."},
	{"/gc/cycles/total:gc-cycles", "go_gc_cycles_total", counter, "Garbage collections that have ended."},
	{"/gc/heap/allocs:bytes", "go_memstats_alloc_bytes_total", counter, "Bytes ever allocated on the heap."},
	{"/memory/classes/heap/objects:bytes", "go_memstats_heap_alloc_bytes", gauge, "Bytes of heap objects, dead ones not yet swept included."},
	{"/gc/heap/goal:bytes", "go_memstats_next_gc_bytes", gauge, "Heap size at which the next garbage collection ends."},
	{"/memory/classes/total:bytes", "go_memstats_sys_bytes", gauge, "Bytes mapped by the Go runtime."},
}

func writeGo(p *page) {
	p.family("go_info", gauge, "The Go toolchain; the value is always 1.")
	p.sample(1, "version", runtime.Version())
	samples := make([]rt.Sample, len(goFigures))
	for i, f := range goFigures {
		samples[i].Name = f.source
	}
	rt.Read(samples)
	for i, f := range goFigures {
		if samples[i].Value.Kind() == rt.KindUint64 {
			p.one(f.name, f.kind, f.help, float64(samples[i].Value.Uint64()))
		}
	}
}

// clockTicks is USER_HZ, which Linux fixes at 100 for all that leaves the kernel.
const clockTicks = 100

// writeProcess tells of this process what proc(5) does. A figure that cannot be read is left out.
func writeProcess(p *page) {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		p.one("process_cpu_seconds_total", counter, "CPU time of the agent, user and system.", seconds(usage.Utime)+seconds(usage.Stime))
	}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.one("process_open_fds", gauge, "File descriptors that are open.", float64(len(fds)-1)) // less that of the directory
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		p.one("process_max_fds", gauge, "File descriptors that may be open.", float64(limit.Cur))
	}
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return
	}
	start, virtual, resident, ok := parseStat(stat)
	if !ok {
		return
	}
	p.one("process_virtual_memory_bytes", gauge, "Virtual memory of the agent.", virtual)
	p.one("process_resident_memory_bytes", gauge, "Resident memory of the agent.", resident*float64(os.Getpagesize()))
	if boot, ok := bootTime(); ok {
		p.one("process_start_time_seconds", gauge, "When the agent started, in seconds since 1970.", boot+start/clockTicks)
	}
}

func seconds(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// parseStat reads proc_pid_stat(5): starttime (22, in ticks since boot), vsize (23, bytes), rss (24, pages).
func parseStat(stat []byte) (start, virtual, resident float64, ok bool) {
	end := bytes.LastIndexByte(stat, ')') // the name before it may hold anything
	if end < 0 {
		return 0, 0, 0, false
	}
	f := strings.Fields(string(stat[end+1:])) // f[0] is field 3
	if len(f) < 22 {
		return 0, 0, 0, false
	}
	for i, v := range []*float64{&start, &virtual, &resident} {
		x, err := strconv.ParseFloat(f[19+i], 64)
		if err != nil {
			return 0, 0, 0, false
		}
		*v = x
	}
	return start, virtual, resident, true
}

// bootTime is btime of proc_stat(5).
func bootTime() (float64, bool) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(stat)) {
		if v, ok := strings.CutPrefix(line, "btime "); ok {
			x, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			return x, err == nil
		}
	}
	return 0, false
}
