package stats

import (
	"sync"
	"time"
)

const (
	// rateInterval is the shortest time over which a rate means something: CPU time is
	// accounted in ticks of up to 10 ms.
	rateInterval = 500 * time.Millisecond
	// rateKept is for how long a reading waits for the next; the kubelet asks every 10 s.
	rateKept = 10 * time.Minute
)

// rates keeps one earlier reading of each cgroup.
type rates struct {
	mu    sync.Mutex
	last  map[string]reading
	swept time.Time
}

type reading struct {
	at   time.Time
	cpu  uint64 // nanoseconds
	rate uint64 // nanoseconds a second, at the time of the reading
}

// rate is the CPU rate since the previous reading, 0 at the first. A reading too soon
// after the previous gets that one's rate, and is not kept.
func (r *rates) rate(key string, at time.Time, cpu uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(at)
	old, ok := r.last[key]
	if ok && at.Sub(old.at) < rateInterval {
		return old.rate
	}
	now := reading{at: at, cpu: cpu}
	if ok && cpu >= old.cpu { // less: another cgroup of the same name
		now.rate = uint64(float64(cpu-old.cpu) / at.Sub(old.at).Seconds())
	}
	if r.last == nil {
		r.last = map[string]reading{}
	}
	r.last[key] = now
	return now.rate
}

// sweep drops the readings of what is gone.
func (r *rates) sweep(now time.Time) {
	if now.Sub(r.swept) < time.Minute {
		return
	}
	r.swept = now
	for key, old := range r.last {
		if now.Sub(old.at) > rateKept {
			delete(r.last, key)
		}
	}
}
