package container_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// BenchmarkStart is from the clone to the end of /bin/true in a container with all its
// namespaces, run by the production slipway-init.
func BenchmarkStart(b *testing.B) {
	kerneltest.NeedRoot(b)
	c := config(rootfs(b), "/bin/true")
	use := static(b)
	for b.Loop() {
		p, _ := launch(b, c, newAll, use)
		ready(b, p)
		if err := p.Start(); err != nil {
			b.Fatal(err)
		}
		wait(b, p)
		p.Close()
	}
}

// BenchmarkHolder is a pod's namespaces from the clone to the holder's end.
func BenchmarkHolder(b *testing.B) {
	kerneltest.NeedRoot(b)
	c := &initconf.Config{Mode: initconf.ModeHolder, Hostname: "pod", NewSession: true}
	use := static(b)
	for b.Loop() {
		p, _ := launch(b, c, unix.CLONE_NEWNET|unix.CLONE_NEWIPC|unix.CLONE_NEWUTS, use)
		ready(b, p)
		wait(b, p)
		p.Close()
	}
}
