// Package wire is the compact binary encoding of the messages that Slipway's
// own processes exchange: init's configuration, checkpoint reports and the
// monitor's protocol. It uses no reflection and no schema: both ends are built
// from one source, and each message carries its own version where the two ends
// may differ. Integers are unsigned varints (zig-zag for signed ones), strings,
// byte slices and lists are length-prefixed. It is not a storage format.
package wire

import (
	"encoding/binary"
	"errors"
	"slices"
)

// ErrShort reports a message that ends inside a value or whose length prefix
// exceeds what is left.
var ErrShort = errors.New("wire: message too short")

// Writer appends values to a buffer. The zero Writer is ready to use.
type Writer struct{ buf []byte }

// Bytes returns what has been written so far; it aliases the Writer's buffer.
func (w *Writer) Bytes() []byte { return w.buf }

// Grow makes room for n more bytes, so that a message of known size is allocated once.
func (w *Writer) Grow(n int) { w.buf = slices.Grow(w.buf, n) }

// Uint appends v as an unsigned varint.
func (w *Writer) Uint(v uint64) { w.buf = binary.AppendUvarint(w.buf, v) }

// Int appends v zig-zag encoded.
func (w *Writer) Int(v int64) { w.buf = binary.AppendVarint(w.buf, v) }

// Bool appends one byte, 0 or 1.
func (w *Writer) Bool(v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	w.buf = append(w.buf, b)
}

// String appends the length of s and s.
func (w *Writer) String(s string) {
	w.Uint(uint64(len(s)))
	w.buf = append(w.buf, s...)
}

// Blob appends the length of b and b.
func (w *Writer) Blob(b []byte) {
	w.Uint(uint64(len(b)))
	w.buf = append(w.buf, b...)
}

// Strings appends the count of ss and each string.
func (w *Writer) Strings(ss []string) {
	w.Uint(uint64(len(ss)))
	for _, s := range ss {
		w.String(s)
	}
}

// Reader takes values from a message in the order they were written. After the
// first error every further read returns a zero value; check Err once at the end.
type Reader struct {
	buf []byte
	err error
}

// NewReader reads from b, which it does not copy except where noted.
func NewReader(b []byte) *Reader { return &Reader{buf: b} }

// Err is the first error met, or nil.
func (r *Reader) Err() error { return r.err }

// Len is the number of bytes not yet read.
func (r *Reader) Len() int { return len(r.buf) }

func (r *Reader) fail() { r.buf, r.err = nil, ErrShort }

// Uint reads an unsigned varint.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.buf)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

// Int reads a zig-zag varint.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.buf)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

// Bool reads one byte; anything but 0 is true.
func (r *Reader) Bool() bool {
	if len(r.buf) == 0 {
		r.fail()
		return false
	}
	b := r.buf[0]
	r.buf = r.buf[1:]
	return b != 0
}

// Blob reads a byte slice that aliases the message; nil when empty.
func (r *Reader) Blob() []byte {
	n := r.Uint()
	if r.err != nil || n == 0 {
		return nil
	}
	if n > uint64(len(r.buf)) {
		r.fail()
		return nil
	}
	b := r.buf[:n:n]
	r.buf = r.buf[n:]
	return b
}

// String reads a string (a copy).
func (r *Reader) String() string { return string(r.Blob()) }

// Count reads a list's length and refuses one that the rest of the message
// cannot hold at min bytes (1 or more) an element, so that a corrupt length
// never becomes a huge allocation.
func (r *Reader) Count(min int) int {
	n := r.Uint()
	if r.err != nil {
		return 0
	}
	if n > uint64(len(r.buf)/max(min, 1)) {
		r.fail()
		return 0
	}
	return int(n)
}

// Strings reads a list of strings; nil when empty.
func (r *Reader) Strings() []string {
	n := r.Count(1)
	if n == 0 {
		return nil
	}
	ss := make([]string, n)
	for i := range ss {
		ss[i] = r.String()
	}
	return ss
}
