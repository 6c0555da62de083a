// Package reexec makes a program its own slipway-init: imported for its effect, it runs
// initproc.MainOfTest instead of the program when argv[0] says so. Test binaries use it together
// with container.InitMemfd("/proc/self/exe"); production has the small binary.
package reexec

import (
	"os"

	"github.com/slipway-cri/slipway/oci/initproc"
)

// Package initialisation runs on the process's first thread, which Main needs; a
// TestMain may not.
func init() {
	if len(os.Args) > 0 && os.Args[0] == "slipway-init" {
		initproc.MainOfTest()
	}
}
