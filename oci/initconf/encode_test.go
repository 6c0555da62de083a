package initconf

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-cri/slipway/oci/wire"
)

// fill gives every field below v a value of its own, so that a field that is forgotten
// by Encode or Decode, or two that are exchanged, show up as a difference.
func fill(v reflect.Value, n *uint64) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.String:
		v.SetString("s" + strings.Repeat("x", int(*n%50)) + string(rune('a'+*n%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(-int64(*n))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(*n % (1 << min(v.Type().Bits(), 63)))
	default:
		panic("a kind that the encoding does not know: " + v.Kind().String())
	}
}

func full() *Config {
	c, n := &Config{}, uint64(0)
	fill(reflect.ValueOf(c).Elem(), &n)
	return c
}

func TestEveryFieldTravels(t *testing.T) {
	want := full()
	got, err := Decode(want.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got, err = Decode((&Config{}).Encode()); err != nil || !reflect.DeepEqual(got, &Config{}) {
		t.Errorf("an empty configuration: %+v, %v", got, err)
	}
}

// Booleans are alike when all are true: flip them one at a time.
func TestEveryBoolTravels(t *testing.T) {
	var flip func(root *Config, v reflect.Value, name string)
	flip = func(root *Config, v reflect.Value, name string) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				flip(root, v.Field(i), name+"."+v.Type().Field(i).Name)
			}
		case reflect.Slice:
			if v.Len() > 0 {
				flip(root, v.Index(0), name+"[0]")
			}
		case reflect.Bool:
			v.SetBool(false)
			if got, err := Decode(root.Encode()); err != nil || !reflect.DeepEqual(root, got) {
				t.Errorf("%s: %v\n%s", name, err, cmp.Diff(root, got))
			}
			v.SetBool(true)
		}
	}
	c := full()
	flip(c, reflect.ValueOf(c).Elem(), "Config")
}

func TestDecodeRefuses(t *testing.T) {
	b := full().Encode()
	for n := range b {
		if c, err := Decode(b[:n]); err == nil || c != nil {
			t.Fatalf("the first %d of %d bytes decode", n, len(b))
		}
	}
	if _, err := Decode(b[:len(b)-1]); !errors.Is(err, wire.ErrShort) {
		t.Errorf("a cut message: %v", err)
	}
	if _, err := Decode(append(b, 0)); err == nil {
		t.Error("a message with a byte too many decodes")
	}
	b[0]++
	if _, err := Decode(b); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("another version: %v", err)
	}
}

// FuzzDecode: what decodes must encode to something that decodes to the same.
func FuzzDecode(f *testing.F) {
	f.Add(full().Encode())
	f.Add((&Config{}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(c.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(c, again) {
			t.Error(cmp.Diff(c, again))
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	msg := full().Encode()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(msg); err != nil {
			b.Fatal(err)
		}
	}
}
