package containers

import (
	"fmt"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/ocispec"
)

// host is what the machine and the pod's runtime handler allow its containers. A handler may have been
// taken out of the configuration while its pods run: then they get no more containers.
func (c *Containers) host(handler string) (ocispec.Host, error) {
	if c.o.Handlers == nil {
		return c.o.Host, nil
	}
	h, ok := c.o.Handlers[handler]
	if !ok {
		return ocispec.Host{}, fmt.Errorf("runtime_handler: no runtime handler %q on this node any more: %w", handler, lifecycle.ErrInvalid)
	}
	return h, nil
}
