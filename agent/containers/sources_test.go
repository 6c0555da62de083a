package containers

import (
	"os"
	"path/filepath"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestMakeSources(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), link); err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(dir, "a/b")
	mounts := []*runtimeapi.Mount{{HostPath: file}, {HostPath: link}, {HostPath: deep}, {Image: &runtimeapi.ImageSpec{Image: "x"}}}
	for range 2 {
		if err := makeSources(mounts); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(deep); err != nil || !info.IsDir() {
		t.Errorf("the missing source: %v, %v", info, err)
	}
	if info, err := os.Lstat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file that was there: %v, %v", info, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "nowhere")); err == nil {
		t.Errorf("a dangling link was followed")
	}
	if err := makeSources([]*runtimeapi.Mount{{HostPath: file + "/below"}}); err == nil {
		t.Errorf("a source below a file is no error")
	}
}
