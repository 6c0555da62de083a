package images

import "github.com/slipway-cri/slipway/agent/images/layers"

// Options configures New. The zero value of everything but Dir means the default.
type Options struct {
	// Dir is the root of the store (layout.Layout.Images), made 0700 when missing.
	Dir string
	// CertsDir holds containerd-style registry directories with a hosts.toml each;
	// "" means no such directory. It is read at every pull.
	CertsDir string
	// Pinned lists references (normalised as Pull does it) that are reported as pinned.
	Pinned []string
	// ParallelLayers bounds the layers of one pull that are unpacked at once. 0 means 4.
	ParallelLayers int
	// Limits bounds what one layer may unpack to.
	Limits layers.Limits
}
