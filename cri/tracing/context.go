package tracing

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"
)

type (
	traceID [16]byte
	spanID  [8]byte
)

// spanContext is what W3C Trace Context carries from one process to the next.
type spanContext struct {
	Trace   traceID
	Span    spanID
	Sampled bool
	State   string
}

// maxTracestate is the length that W3C Trace Context has everybody pass on; what is longer is dropped.
const maxTracestate = 512

// parseTraceparent reads "00-TRACE-SPAN-FLAGS" (W3C Trace Context, section 3.2). Later versions
// may append further fields; ff is no version.
func parseTraceparent(s string) (c spanContext, ok bool) {
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || strings.ToLower(s[:55]) != s[:55] {
		return c, false
	}
	var version, flags [1]byte
	for _, f := range []struct {
		into []byte
		text string
	}{{version[:], s[:2]}, {c.Trace[:], s[3:35]}, {c.Span[:], s[36:52]}, {flags[:], s[53:55]}} {
		if _, err := hex.Decode(f.into, []byte(f.text)); err != nil {
			return spanContext{}, false
		}
	}
	switch {
	case version[0] == 0xff, version[0] == 0 && len(s) != 55, len(s) > 55 && s[55] != '-':
		return spanContext{}, false
	case c.Trace == traceID{}, c.Span == spanID{}:
		return spanContext{}, false
	}
	c.Sampled = flags[0]&1 != 0
	return c, true
}

func tracestate(headers []string) string {
	s := strings.Join(headers, ",")
	if len(s) > maxTracestate {
		return ""
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return ""
		}
	}
	return s
}

func newTraceID() (id traceID) {
	for id == (traceID{}) {
		binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
		binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id
}

func newSpanID() (id spanID) {
	for id == (spanID{}) {
		binary.LittleEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}
