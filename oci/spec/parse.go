package spec

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// MaxSize bounds a config.json in bytes. A privileged CRI container with every device of
// a large host takes some 200 KiB.
const MaxSize = 4 << 20

// Parse reads a config.json. Fields that this version does not know are passed over, as
// the runtime-spec demands ("Extensibility"). It does not validate.
func Parse(data []byte) (*specs.Spec, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("config.json: more than %d bytes: %w", MaxSize, ErrInvalid)
	}
	var s *specs.Spec
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("config.json: %w: %w", ErrInvalid, err)
	}
	if s == nil {
		return nil, fmt.Errorf("config.json: null: %w", ErrInvalid)
	}
	return s, nil
}

// ParseReader reads at most MaxSize bytes from r and parses them.
func ParseReader(r io.Reader) (*specs.Spec, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return Parse(data)
}
