package scrape

import (
	"sync/atomic"
	"time"
)

// bounds of all latency histograms, in seconds: a step of a warm start takes 0.1 ms, a pull minutes.
var bounds = [...]float64{
	0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120,
}

// limits are bounds as durations.
var limits = func() (l [len(bounds)]time.Duration) {
	for i, b := range bounds {
		l[i] = time.Duration(b * float64(time.Second))
	}
	return l
}()

// histogram counts durations; observe takes no lock and allocates nothing.
type histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64 // each by itself, the last without bound
	nanos   atomic.Int64
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(limits) && d > limits[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.nanos.Add(int64(d))
}

// read returns the cumulative counts and the sum in seconds. An observation under way may be in one and not yet in the other.
func (h *histogram) read() (cumulative [len(bounds) + 1]uint64, sum float64) {
	var n uint64
	for i := range h.buckets {
		n += h.buckets[i].Load()
		cumulative[i] = n
	}
	return cumulative, float64(h.nanos.Load()) / float64(time.Second)
}
