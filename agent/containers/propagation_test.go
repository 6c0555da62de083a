package containers

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

func TestCheckPropagation(t *testing.T) {
	find := func(path string) (string, error) {
		optional, ok := map[string]string{"/shared": "shared:7 master:1", "/slave": "master:3", "/private": "", "/none": "unbindable"}[path]
		if !ok {
			return "", os.ErrNotExist
		}
		return optional, nil
	}
	const private, slave, both = runtimeapi.MountPropagation_PROPAGATION_PRIVATE, runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER, runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
	for _, c := range []struct {
		path string
		mode runtimeapi.MountPropagation
		kind error
	}{
		{"/private", private, nil}, {"/gone", private, nil},
		{"/shared", slave, nil}, {"/slave", slave, nil}, {"/private", slave, lifecycle.ErrInvalid}, {"/none", slave, lifecycle.ErrInvalid},
		{"/shared", both, nil}, {"/slave", both, lifecycle.ErrInvalid}, {"/private", both, lifecycle.ErrInvalid},
		{"/gone", both, os.ErrNotExist},
	} {
		err := checkPropagation([]*runtimeapi.Mount{{}, {HostPath: c.path, Propagation: c.mode}}, find)
		if !errors.Is(err, c.kind) {
			t.Errorf("%s of %s: %v", c.mode, c.path, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "config.mounts[1].") {
			t.Errorf("does not name the field: %v", err)
		}
	}
}

func TestMountOf(t *testing.T) {
	kerneltest.NeedRoot(t)
	dir := t.TempDir()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with its mount namespace
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			t.Error(err)
			return
		}
		for _, c := range []struct {
			flag uintptr
			want string
		}{{unix.MS_PRIVATE, ""}, {unix.MS_SHARED, "shared:"}} {
			if err := errors.Join(
				unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
				unix.Mount("tmpfs", dir, "tmpfs", 0, ""),
				unix.Mount("", dir, "", c.flag, ""),
				os.MkdirAll(dir+"/sub", 0o755),
				os.Symlink(dir+"/sub", dir+"/link"),
			); err != nil {
				t.Error(err)
				return
			}
			// mountinfo of the thread: /proc/self is the whole process's.
			got, err := mountOfIn("/proc/thread-self/mountinfo", filepath.Join(dir, "link"))
			if err != nil || !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		}
	}()
	<-done
	if _, err := mountOf(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := mountOf("/proc"); err != nil {
		t.Error(err)
	}
}
