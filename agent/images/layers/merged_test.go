package layers

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"archive/tar"

	"github.com/slipway-cri/slipway/agent/images/imagetest"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// TestReadFile reads through layers as overlayfs would show them; "" is an error.
func TestReadFile(t *testing.T) {
	kerneltest.NeedRoot(t)
	base := t.TempDir()
	for name, in := range map[string]entries{
		"bottom": {{Name: "etc/passwd", Data: "old"}, {Name: "etc/group", Data: "group"}, {Name: "etc/gone", Data: "x"}, {Name: "dir/a", Data: "low"},
			{Name: "was/file/x", Data: "x"}, {Name: "opq/low", Data: "x"}, {Name: "real/f", Data: "behind a link"}, {Name: "t/f", Data: "x"}},
		"middle": {{Name: "etc/passwd", Data: "new"}, {Name: "etc/.wh.gone"}, {Name: "dir/b", Data: "mid"}, {Name: "was", Data: "a file now"},
			{Name: "opq/"}, {Name: "opq/.wh..wh..opq"}, {Name: "opq/high", Data: "h"}, {Name: ".wh.t"}},
		"top": {{Name: "lib", Type: tar.TypeSymlink, Link: "real"}, {Name: "abs", Type: tar.TypeSymlink, Link: "/etc/passwd"},
			{Name: "out", Type: tar.TypeSymlink, Link: "../../../../etc/group"}, {Name: "d/up", Type: tar.TypeSymlink, Link: "../lib/../etc/passwd"},
			{Name: "loop", Type: tar.TypeSymlink, Link: "loop"}, {Name: "proc", Type: tar.TypeSymlink, Link: "/proc/self/root"},
			{Name: "fifo", Type: tar.TypeFifo}, {Name: "null", Type: tar.TypeChar, Major: 1, Minor: 3}, {Name: "zero", Type: tar.TypeChar, Major: 1, Minor: 5}, {Name: "t/g", Data: "g"}},
	} {
		dir, _ := mustUnpack(t, imagetest.Tar(in...))
		if err := os.Rename(filepath.Join(dir, RootDir), filepath.Join(base, name)); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{"top", "middle", "bottom"}
	for path, want := range map[string]string{
		"/etc/passwd": "new", "etc//./group": "group", "/etc/gone": "", "/dir/a": "low", "/dir/b": "mid", "/was": "a file now", "/was/file/x": "",
		"/opq/low": "", "/opq/high": "h", "/lib/f": "behind a link", "/abs": "new", "/out": "group", "/d/up": "new", "/loop": "",
		"/proc/etc/passwd": "", "/fifo": "", "/null": "", "/zero": "", "/etc": "", "/": "", "": "", "/nothing": "", "/../../etc/passwd": "new",
		"/t/f": "", "/t/g": "g",
	} {
		got, err := ReadFile(base, names, path, 100)
		if want == "" && err == nil || want != "" && (err != nil || string(got) != want) {
			t.Errorf("%q: %q, %v; want %q", path, got, err, want)
		}
	}
	if _, err := ReadFile(base, names, "/etc/gone", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a whited out file: %v", err)
	}
	if _, err := ReadFile(base, names, "/etc/group", 4); !errors.Is(err, ErrLimit) {
		t.Errorf("past the limit: %v", err)
	}
}
