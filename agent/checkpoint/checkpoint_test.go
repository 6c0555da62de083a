package checkpoint

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func archive(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var limits = Limits{Entries: 4, Bytes: 1000}

func TestPackUnpack(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(from, "checkpoint"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "checkpoint", "core-1.img"), []byte("state"), 0o644); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Pack(&b, from); err != nil {
		t.Fatal(err)
	}
	if err := Unpack(&b, to, limits); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(to, "checkpoint", "core-1.img"))
	if err != nil || string(got) != "state" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	if err := Pack(&b, from); !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("a link was packed: %v", err)
	}
}

// TestHostileArchives is the class of CVE-2024-8676, CVE-2026-50195, CVE-2026-53489 and CVE-2026-53492: an archive is trusted.
func TestHostileArchives(t *testing.T) {
	file := func(name string, size int64) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600}
	}
	for name, a := range map[string][]byte{
		"dotdot":            archive(t, file("../x", 1)),
		"inner dotdot":      archive(t, file("a/../../x", 1)),
		"absolute":          archive(t, file("/x", 1)),
		"newline":           archive(t, file("a\nb", 1)),
		"deep":              archive(t, file("a/b/c/d/e/f/g/h/i", 1)),
		"symlink":           archive(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "a", Linkname: "/etc"}),
		"through a symlink": archive(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "a", Linkname: "/etc"}, file("a/x", 1)),
		"hard link":         archive(t, tar.Header{Typeflag: tar.TypeLink, Name: "a", Linkname: "/etc/passwd"}),
		"device":            archive(t, tar.Header{Typeflag: tar.TypeChar, Name: "a", Devmajor: 1, Devminor: 3}),
		"block device":      archive(t, tar.Header{Typeflag: tar.TypeBlock, Name: "a", Devmajor: 8}),
		"fifo":              archive(t, tar.Header{Typeflag: tar.TypeFifo, Name: "a"}),
		"twice":             archive(t, file("a", 1), file("a", 1)),
		"too large":         archive(t, file("a", 600), file("b", 600)),
		"too many":          archive(t, file("a", 1), file("b", 1), file("c", 1), file("d", 1), file("e", 1)),
		"cut off":           archive(t, file("a", 900))[:700],
		"no tar":            bytes.Repeat([]byte("x"), 1024),
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "in")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := Unpack(bytes.NewReader(a), dir, limits); !errors.Is(err, lifecycle.ErrInvalid) {
				t.Errorf("got %v, want an invalid argument", err)
			}
			for d, want := range map[string]int{outer: 1, dir: 0} {
				if left, err := os.ReadDir(d); err != nil || len(left) != want {
					t.Errorf("%s: %v left, %v", d, left, err)
				}
			}
		})
	}
}

// fakeFreezer fails Freeze of the nth cgroup.
type fakeFreezer struct {
	said   []string
	failAt string
	thaw   error
}

func (f *fakeFreezer) Freeze(_ context.Context, cg string) error {
	f.said = append(f.said, "freeze "+cg)
	if cg == f.failAt {
		return errors.New("busy")
	}
	return nil
}

func (f *fakeFreezer) Thaw(cg string) error {
	f.said = append(f.said, "thaw "+cg)
	return f.thaw
}

func TestCut(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		f       fakeFreezer
		capture error
		want    string
		err     string
	}{
		"all":              {want: "freeze a, freeze b, capture 0, capture 1, thaw a, thaw b"},
		"capture fails":    {capture: boom, want: "freeze a, freeze b, capture 0, thaw a, thaw b", err: "boom"},
		"freeze fails":     {f: fakeFreezer{failAt: "b"}, want: "freeze a, freeze b, thaw a, thaw b", err: "freeze b: busy"},
		"first freeze":     {f: fakeFreezer{failAt: "a"}, want: "freeze a, thaw a", err: "freeze a: busy"},
		"thaws fail, both": {f: fakeFreezer{thaw: boom}, want: "freeze a, freeze b, capture 0, capture 1, thaw a, thaw b", err: "thaw b: boom"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Cut(t.Context(), &c.f, []string{"a", "b"}, func(_ context.Context, i int) error {
				c.f.said = append(c.f.said, "capture "+string(rune('0'+i)))
				return c.capture
			})
			if got := strings.Join(c.f.said, ", "); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

func TestCutThawsAtTheDeadline(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &fakeFreezer{}
	err := Cut(ctx, f, []string{"a", "b"}, func(context.Context, int) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) || !slices.Equal(f.said, []string{"freeze a", "freeze b", "thaw a", "thaw b"}) {
		t.Errorf("%v: %v", f.said, err)
	}
}

func fakeCriu(t *testing.T, script string) Criu {
	t.Helper()
	p := filepath.Join(t.TempDir(), "criu")
	if err := os.WriteFile(p, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return Criu{p}
}

func TestWithoutCriu(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Find(); !errors.Is(err, lifecycle.ErrState) || !strings.Contains(err.Error(), `the package "criu"`) {
		t.Errorf("got %v", err)
	}
}

func TestCriuSaysWhy(t *testing.T) {
	c := fakeCriu(t, "echo 'Warn  (a.c:1): no matter'\necho 'Error (criu/vdso.c:381): vdso: Unexpected bounds'\necho 'Error (b.c:1): follows'\nexit 1\n")
	for what, err := range map[string]error{
		"check": c.Check(t.Context()), "dump": c.Dump(t.Context(), Dump{Pid: 1, Work: t.TempDir()}),
	} {
		if !errors.Is(err, lifecycle.ErrState) || !strings.Contains(err.Error(), "vdso: Unexpected bounds") || strings.Contains(err.Error(), "follows") {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestDump(t *testing.T) {
	work := t.TempDir()
	c := fakeCriu(t, `echo "$*" >`+work+"/args\n")
	err := c.Dump(t.Context(), Dump{Pid: 42, Images: "/i", Work: work, Freeze: "/f", Network: 7})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(work, "args"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"dump --tree 42 --images-dir /i ", "--leave-running", "--freeze-cgroup /f", "--external net[7]:pod"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := fakeCriu(t, "exec sleep 60\n").Dump(ctx, Dump{Pid: 1, Work: work}); !errors.Is(err, lifecycle.ErrTimeout) {
		t.Errorf("got %v, want a timeout", err)
	}
}

// TestRealCriu says whether this kernel and criu go together.
func TestRealCriu(t *testing.T) {
	c, err := Find()
	if err != nil {
		t.Skip(err)
	}
	if err := c.Check(t.Context()); err != nil {
		if !errors.Is(err, lifecycle.ErrState) {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}
