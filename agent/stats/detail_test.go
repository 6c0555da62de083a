package stats

import (
	"context"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDetails(t *testing.T) {
	n := testNode()
	n.containers[0].Pid = os.Getpid()
	s := newStats(t, n)
	if err := os.MkdirAll(s.o.Layout.ContainerDir("c1")+"/upper/made", 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := s.Details(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Pods) != 2 || got.Pods[0].Pod.ID != "p1" || got.Pods[1].Pod.ID != "p2" {
		t.Fatalf("%+v: want the ready pods", got.Pods)
	}
	p1, p2 := got.Pods[0], got.Pods[1]
	if p1.Detail.CPUNanos != 100 || p1.Detail.Processes != 0 || p1.Interfaces[0].Name != "eth0" || len(p1.Containers) != 1 {
		t.Errorf("p1: %+v", p1)
	}
	c1 := p1.Containers[0]
	if c1.Detail.CPUNanos != 50 || c1.Detail.Processes != 2 || c1.WritableAt.IsZero() || c1.OpenFiles == nil {
		t.Errorf("c1: %+v", c1)
	}
	var rlimit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &rlimit); err != nil || c1.OpenFiles != nil && *c1.OpenFiles != rlimit.Cur {
		t.Errorf("open files %v, want %d (%v)", c1.OpenFiles, rlimit.Cur, err)
	}
	if len(p2.Interfaces) != 0 || len(p2.Containers) != 1 || p2.Containers[0].Detail != nil {
		t.Errorf("p2, whose container has just ended: %+v", p2)
	}
	if fs := got.Filesystem; fs.Bytes == 0 || fs.Device == "" || fs.InodesFree > fs.Inodes {
		t.Errorf("file system %+v", fs)
	}
	n.broken = errors.New("no such device")
	if _, err := s.Details(t.Context()); !errors.Is(err, n.broken) {
		t.Errorf("a cgroup that cannot be read: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Details(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

func TestMountSource(t *testing.T) {
	const mounts = "22 1 0:21 / / rw - overlay overlay rw,lowerdir=/a\n30 22 0:33 /sub /mnt/x rw shared:1 - btrfs /dev/nvme0n1p2 rw\n"
	for number, want := range map[string]string{"0:33": "/dev/nvme0n1p2", "0:21": "overlay", "0:3": ""} {
		if got := mountSource([]byte(mounts), number); got != want {
			t.Errorf("%s: %q, want %q", number, got, want)
		}
	}
	if got := DeviceName(4000, 9); got != "4000:9" {
		t.Errorf("a device that is not there: %q", got)
	}
}

func TestParseOpenFiles(t *testing.T) {
	const limits = "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max processes             100                  200                  processes \n" +
		"Max open files            1024                 4096                 files     \n"
	if n := parseOpenFiles([]byte(limits)); n == nil || *n != 1024 {
		t.Errorf("%v, want 1024", n)
	}
	if n := parseOpenFiles([]byte("Max open files  unlimited  unlimited  files\n")); n != nil {
		t.Errorf("%d of no limit", *n)
	}
}
