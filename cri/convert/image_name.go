package convert

import "github.com/slipway-cri/slipway/agent/containers"

// ImageName is the name of a container's image, as its status shows it.
func ImageName(c *containers.Container, names ImageNames) string {
	return containerImage(c, names).GetImage()
}
