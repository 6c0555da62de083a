package layers

import (
	"errors"
	"fmt"
)

// ErrLimit is wrapped by every error that says a layer asks for more than Limits allow.
var ErrLimit = errors.New("layer exceeds a limit")

// ErrInvalid is wrapped by errors that say the stream is not a layer that can be unpacked.
var ErrInvalid = errors.New("invalid layer")

// Limits bounds one layer. A zero field means its default.
type Limits struct {
	Entries int   // tar headers; default 2,000,000
	Bytes   int64 // of the uncompressed stream, and of the files it makes (holes count); default 64 GiB
	// Ratio bounds uncompressed to compressed bytes once RatioFloor is passed. deflate cannot
	// reach 1,033; zstd can reach millions. Default 1,000.
	Ratio      int64
	RatioFloor int64 // default 1 GiB
}

// maxName bounds a path and a link target: PATH_MAX, path_resolution(7).
const maxName = 4096

func (l Limits) withDefaults() Limits {
	if l.Entries == 0 {
		l.Entries = 2_000_000
	}
	if l.Bytes == 0 {
		l.Bytes = 64 << 30
	}
	if l.Ratio == 0 {
		l.Ratio = 1000
	}
	if l.RatioFloor == 0 {
		l.RatioFloor = 1 << 30
	}
	return l
}

// checkStream is asked after each chunk, with the totals so far.
func (l Limits) checkStream(compressed, uncompressed int64) error {
	if uncompressed > l.Bytes {
		return fmt.Errorf("more than %d bytes uncompressed: %w", l.Bytes, ErrLimit)
	}
	if uncompressed > l.RatioFloor && uncompressed/l.Ratio > compressed {
		return fmt.Errorf("%d bytes out of %d, ratio over %d: %w", uncompressed, compressed, l.Ratio, ErrLimit)
	}
	return nil
}
