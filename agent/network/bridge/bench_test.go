package bridge

import (
	"context"
	"fmt"
	"testing"

	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/network/networktest"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// BenchmarkPod sets up and tears down pods; namespaces are made outside the clock. The
// two halves are told apart as setup-ns/op and teardown-ns/op.
func BenchmarkPod(b *testing.B) {
	kerneltest.NeedRoot(b)
	for _, c := range []struct {
		name  string
		ports []network.PortMapping
	}{
		{"plain", nil},
		{"with a host port", []network.PortMapping{{Protocol: "tcp", HostPort: 8080, ContainerPort: 80}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := open(b, "")
			b.Cleanup(func() { _ = n.Close(true) })
			dir, ctx := b.TempDir(), context.Background()
			var setup, teardown float64
			i := 0
			for b.Loop() {
				b.StopTimer()
				i++
				ns := networktest.NewNamespace(b, dir, fmt.Sprint(i))
				p := network.Pod{ID: fmt.Sprintf("%064d", i), NetNS: ns.Path, Ports: c.ports}
				b.StartTimer()
				before := b.Elapsed()
				res, err := n.Setup(ctx, p)
				if err != nil {
					b.Fatal(err)
				}
				middle := b.Elapsed()
				p.Previous = res
				if err := n.Teardown(ctx, p); err != nil {
					b.Fatal(err)
				}
				setup += float64(middle - before)
				teardown += float64(b.Elapsed() - middle)
				b.StopTimer()
				ns.Remove()
				b.StartTimer()
			}
			b.ReportMetric(setup/float64(i), "setup-ns/op")
			b.ReportMetric(teardown/float64(i), "teardown-ns/op")
		})
	}
}
