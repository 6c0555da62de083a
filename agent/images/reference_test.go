package images

import (
	"errors"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func TestParseReference(t *testing.T) {
	sum := strings.Repeat("a", 64)
	for in, want := range map[string]string{
		"busybox":                         "docker.io/library/busybox:latest",
		"user/app:1":                      "docker.io/user/app:1",
		"localhost:5000/a/b":              "localhost:5000/a/b:latest",
		"[::1]:5000/a:1":                  "[::1]:5000/a:1",
		"index.docker.io/library/x:1":     "docker.io/library/x:1",
		"quay.io/a/b@sha256:" + sum:       "quay.io/a/b@sha256:" + sum,
		"quay.io/a/b:v1@sha256:" + sum:    "quay.io/a/b@sha256:" + sum,
		"":                                "",
		"UPPER":                           "",
		"a:tag with space":                "",
		"a@sha256:short":                  "",
		sum:                               "",
		"a/../b":                          "",
		"http://a/b":                      "",
		strings.Repeat("a/", 600) + "b:1": "",
	} {
		got, err := ParseReference(in)
		if want == "" {
			if !errors.Is(err, lifecycle.ErrInvalid) {
				t.Errorf("%q: %v, %v", in, got, err)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("%q: %v, %v; want %q", in, got, err, want)
		}
	}
}

// FuzzParseReference: what is taken is normal, short and stays as it is.
func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"busybox", "a.b:5/c:d", "x@sha256:" + strings.Repeat("0", 64), "sha256:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		named, err := ParseReference(s)
		if err != nil {
			return
		}
		again, err := ParseReference(named.String())
		if err != nil || again.String() != named.String() {
			t.Errorf("%q → %q → %v, %v", s, named, again, err)
		}
		_, tagged := named.(reference.Tagged)
		_, digested := named.(reference.Digested)
		if tagged == digested {
			t.Errorf("%q has not one of tag and digest", named)
		}
	})
}
