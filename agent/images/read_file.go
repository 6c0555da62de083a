package images

import (
	"fmt"

	"github.com/slipway-cri/slipway/agent/images/layers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// ReadFile implements Service. Nothing is mounted: the layers are merged by looking.
func (l *Local) ReadFile(id, path string, limit int64) ([]byte, error) {
	names := l.store.Lower(id)
	if names == nil {
		return nil, fmt.Errorf("image %q: %w", id, lifecycle.ErrNotFound)
	}
	return layers.ReadFile(l.store.Base(), names, path, limit)
}
