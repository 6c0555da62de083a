package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func TestRelabel(t *testing.T) {
	dir := t.TempDir()
	tree, outside := filepath.Join(dir, "tree"), filepath.Join(dir, "outside")
	for _, d := range []string{filepath.Join(tree, "sub"), outside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, target := range map[string]string{filepath.Join(tree, "sub/link"): outside, filepath.Join(dir, "to-tree"): tree, filepath.Join(dir, "to-etc"): "/etc"} {
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	record := func(p string) error {
		got = append(got, p)
		return nil
	}
	want := []string{tree, filepath.Join(tree, "sub"), filepath.Join(tree, "sub/link")}
	for _, path := range []string{tree, filepath.Join(dir, "to-tree")} {
		got = nil
		if err := relabel(path, "l", record); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v %q", path, err, got)
		}
	}
	for _, path := range []string{"/", "/etc", "/usr/", filepath.Join(dir, "to-etc")} {
		if err := relabel(path, "l", record); !errors.Is(err, lifecycle.ErrInvalid) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := relabel(tree, "l", func(string) error { return unix.ENOTSUP }); err != nil {
		t.Errorf("a file system without labels: %v", err)
	}
	if err := relabel(tree, "l", func(string) error { return unix.EPERM }); !errors.Is(err, unix.EPERM) {
		t.Errorf("a refusal: %v", err)
	}
	if err := Relabel(filepath.Join(dir, "missing"), "l"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}
