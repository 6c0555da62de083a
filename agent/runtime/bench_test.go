package runtime

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkPod is the runtime's part of a pod's life: sandbox, one container to its exec,
// and all of it removed; with SLIPWAY_TEST_BIN set, by the small init.
func BenchmarkPod(b *testing.B) {
	n := newNode(b)
	took := map[string]time.Duration{}
	lap := func(what string, from *time.Time) {
		now := time.Now()
		took[what] += now.Sub(*from)
		*from = now
	}
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("p%d", i)
		at := time.Now()
		s, box := n.pod(id, false)
		lap("ms-sandbox", &at)
		c := n.container("c"+id, s, box, "exec busybox sleep 1000")
		if _, err := n.Create(n.ctx, c); err != nil {
			b.Fatal(err)
		}
		lap("ms-create", &at)
		if _, err := n.Start(n.ctx, c.ID); err != nil {
			b.Fatal(err)
		}
		lap("ms-start", &at)
		if err := n.Delete(n.ctx, c.ID, c.Spec.Linux.CgroupsPath); err != nil {
			b.Fatal(err)
		}
		if err := n.RemoveSandbox(n.ctx, s); err != nil {
			b.Fatal(err)
		}
		lap("ms-remove", &at)
	}
	for what, d := range took {
		b.ReportMetric(float64(d.Microseconds())/float64(b.N)/1000, what)
	}
}
