package validate

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Error is one fault of a request. It is a lifecycle.ErrInvalid.
type Error struct {
	Field  string // CRI's protobuf path: "config.linux.resources.cpu_quota", "config.mounts[2].host_path"
	Reason string
}

func (e *Error) Error() string { return e.Field + ": " + e.Reason }

// Unwrap makes the error's kind known.
func (e *Error) Unwrap() error { return lifecycle.ErrInvalid }

// checker keeps the first fault; later checks run on and find nothing new. Paths are put
// together only where there is a list or a fault, so that a valid request costs little.
type checker struct{ err *Error }

func (c *checker) fail(field, format string, args ...any) {
	if c.err == nil {
		c.err = &Error{Field: field, Reason: short(fmt.Sprintf(format, args...), maxReason)}
	}
}

// result turns the typed nil into an untyped one.
func (c *checker) result() error {
	if c.err == nil {
		return nil
	}
	return c.err
}

func at(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

func key(m, k string) string { return m + "[" + strconv.Quote(short(k, maxQuotedKey)) + "]" }

// A fault goes into logs and back to the caller, so what it quotes of a request is bounded.
const maxReason, maxQuotedKey = 512, 317 // a sysctl's or an annotation's name fits

// short cuts s to limit bytes, at a character.
func short(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
