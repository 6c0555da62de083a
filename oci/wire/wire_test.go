package wire

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	uints := []uint64{0, 1, 127, 128, 1<<32 - 1, 1 << 32, math.MaxUint64}
	ints := []int64{0, 1, -1, 63, -64, 64, math.MaxInt64, math.MinInt64}
	lists := [][]string{nil, {""}, {"a", "", "ü\x00"}, make([]string, 300)}
	blobs := [][]byte{nil, {0}, bytes.Repeat([]byte{0xff}, 200)}

	w := &Writer{}
	w.Grow(64)
	for _, v := range uints {
		w.Uint(v)
	}
	for _, v := range ints {
		w.Int(v)
	}
	w.Bool(true)
	w.Bool(false)
	for _, v := range lists {
		w.Strings(v)
	}
	for _, v := range blobs {
		w.Blob(v)
	}
	w.String("end")

	r := NewReader(w.Bytes())
	for _, v := range uints {
		if got := r.Uint(); got != v {
			t.Errorf("Uint: %d, want %d", got, v)
		}
	}
	for _, v := range ints {
		if got := r.Int(); got != v {
			t.Errorf("Int: %d, want %d", got, v)
		}
	}
	if !r.Bool() || r.Bool() {
		t.Error("Bool")
	}
	for _, v := range lists {
		if got := r.Strings(); !slices.Equal(got, v) || (got == nil) != (len(v) == 0) {
			t.Errorf("Strings: %q, want %q", got, v)
		}
	}
	for _, v := range blobs {
		if got := r.Blob(); !bytes.Equal(got, v) {
			t.Errorf("Blob: %x, want %x", got, v)
		}
	}
	if got := r.String(); got != "end" || r.Err() != nil || r.Len() != 0 {
		t.Errorf("%q, %v, %d bytes left", got, r.Err(), r.Len())
	}
}

// Each of these ends inside a value or promises more than there is.
func TestShort(t *testing.T) {
	for name, c := range map[string]struct {
		message []byte
		read    func(*Reader)
	}{
		"no integer":             {nil, func(r *Reader) { r.Uint() }},
		"integer without end":    {[]byte{0x80}, func(r *Reader) { r.Uint() }},
		"integer of 11 bytes":    {bytes.Repeat([]byte{0xff}, 11), func(r *Reader) { r.Uint() }},
		"signed without end":     {[]byte{0xff}, func(r *Reader) { r.Int() }},
		"no bool":                {nil, func(r *Reader) { r.Bool() }},
		"string cut":             {[]byte{3, 'a', 'b'}, func(r *Reader) { _ = r.String() }},
		"blob of 2^63":           {[]byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1}, func(r *Reader) { r.Blob() }},
		"list of 2^32":           {[]byte{0x80, 0x80, 0x80, 0x80, 0x10}, func(r *Reader) { r.Strings() }},
		"list cut":               {[]byte{2, 1, 'a'}, func(r *Reader) { r.Strings() }},
		"count beyond the rest":  {[]byte{3, 0, 0, 0, 0}, func(r *Reader) { r.Count(2) }},
		"count with min of zero": {[]byte{5, 0}, func(r *Reader) { r.Count(0) }},
	} {
		r := NewReader(c.message)
		c.read(r)
		if !errors.Is(r.Err(), ErrShort) {
			t.Errorf("%s: %v", name, r.Err())
		}
		// The first error stays, and nothing more is read.
		if r.Uint() != 0 || r.Int() != 0 || r.Bool() || r.String() != "" || r.Strings() != nil || r.Count(1) != 0 || r.Len() != 0 {
			t.Errorf("%s: a value after the error", name)
		}
	}
}

func TestBlobDoesNotReachFurther(t *testing.T) {
	b := []byte{1, 'a', 'b'}
	got := NewReader(b).Blob()
	if got = append(got, 'X'); b[2] != 'b' {
		t.Errorf("appending to %q wrote over what follows", got)
	}
}

// FuzzReader reads arbitrary bytes by an arbitrary script: it must not panic, and a
// length prefix must not become a large allocation.
func FuzzReader(f *testing.F) {
	f.Add([]byte{3, 1, 'a', 1, 'b', 0}, []byte{4, 5, 0})
	f.Add([]byte{0x80, 0x80, 0x80, 0x80, 0x10}, []byte{4})
	f.Fuzz(func(t *testing.T, message, script []byte) {
		r := NewReader(message)
		for _, op := range script {
			before := r.Len()
			var got int
			switch op % 6 {
			case 0:
				r.Uint()
			case 1:
				r.Int()
			case 2:
				r.Bool()
			case 3:
				got = len(r.Blob())
			case 4:
				got = len(r.Strings())
			case 5:
				got = r.Count(3) * 3
			}
			if got > before || r.Len() > before {
				t.Fatalf("%d out of %d bytes", got, before)
			}
		}
	})
}

// FuzzValues writes a value of each kind and reads it back.
func FuzzValues(f *testing.F) {
	f.Add(uint64(1), int64(-1), true, "s", []byte("b"), uint8(3))
	f.Fuzz(func(t *testing.T, u uint64, i int64, b bool, s string, raw []byte, n uint8) {
		list := slices.Repeat([]string{s}, int(n))
		w := &Writer{}
		w.Uint(u)
		w.Int(i)
		w.Bool(b)
		w.String(s)
		w.Blob(raw)
		w.Strings(list)
		r := NewReader(w.Bytes())
		if r.Uint() != u || r.Int() != i || r.Bool() != b || r.String() != s || !bytes.Equal(r.Blob(), raw) || !slices.Equal(r.Strings(), list) {
			t.Error("a value changed")
		}
		if r.Err() != nil || r.Len() != 0 {
			t.Errorf("%v, %d bytes left", r.Err(), r.Len())
		}
	})
}
