// Package lifecycle holds the states of pods and containers, the one function that
// moves between them, and the kinds of errors that the whole agent speaks. It is pure.
package lifecycle

import "errors"

// Kinds of errors. Wrap one with %w: fmt.Errorf("container %s: %w", id, ErrNotFound).
// cri/server turns the kind into a gRPC code; errors without a kind are Internal.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("already exists")
	ErrInvalid     = errors.New("invalid argument")
	ErrState       = errors.New("wrong state")
	ErrInProgress  = errors.New("operation in progress")
	ErrUnsupported = errors.New("not supported")
	ErrExhausted   = errors.New("resource exhausted")
	ErrTimeout     = errors.New("timed out")   // DeadlineExceeded: an ExecSync that was killed
	ErrUnavailable = errors.New("unavailable") // the monitor or a registry cannot be reached now
)
