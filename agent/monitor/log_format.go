package monitor

import (
	"bytes"
	"time"
)

// DefaultMaxLine is the longest line in bytes that is one record of a log; longer ones
// become several partial records.
const DefaultMaxLine = 16 << 10

// stampLayout is RFC3339Nano with its nine digits always there: kubelet parses it, and
// the header of a record has one length.
const stampLayout = "2006-01-02T15:04:05.000000000Z"

const headerLen = len(stampLayout) + len(" stdout F ")

// header is the beginning of the records made of one read: they share a time.
//
//	2026-11-24T15:04:05.000000000Z stdout F line
//	2026-11-24T15:04:05.000000000Z stdout P a piece of a line that goes on
type header struct{ full, partial [headerLen]byte }

func (h *header) set(t time.Time, stream byte) {
	b := t.UTC().AppendFormat(h.full[:0], stampLayout)
	if stream == StreamStderr {
		b = append(b, " stderr "...)
	} else {
		b = append(b, " stdout "...)
	}
	h.partial = h.full
	h.full[len(b)], h.full[len(b)+1] = 'F', ' '
	h.partial[len(b)], h.partial[len(b)+1] = 'P', ' '
}

// format appends to dst the records of in's lines and returns how many bytes of in they
// cover. It stops where dst's capacity ends, or before a line that is not complete and
// could still fit maxLine; 0 means that nothing can be said of in yet. dst holds at
// least one record: headerLen + maxLine + 1 bytes.
func (h *header) format(dst, in []byte, maxLine int) (out []byte, n int) {
	for n < len(in) {
		line := in[n:]
		if len(line) > maxLine+1 {
			line = line[:maxLine+1]
		}
		head, skip := &h.full, 1
		size := bytes.IndexByte(line, '\n')
		if size < 0 {
			if len(line) <= maxLine {
				return dst, n
			}
			head, size, skip = &h.partial, maxLine, 0
		}
		if cap(dst)-len(dst) < headerLen+size+1 {
			return dst, n
		}
		dst = append(dst, head[:]...)
		dst = append(dst, line[:size]...)
		dst = append(dst, '\n')
		n += size + skip
	}
	return dst, n
}

// last appends the record of a stream's end without a newline: a partial one, so that a
// reader who joins partial records gets the bytes back as they were.
func (h *header) last(dst, in []byte) []byte {
	dst = append(dst, h.partial[:]...)
	dst = append(dst, in...)
	return append(dst, '\n')
}
