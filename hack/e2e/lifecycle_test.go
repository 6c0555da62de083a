package e2e

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A pod from an image in a registry to nothing, as crictl would do it.
func TestPullRunExecLogsStatsRemove(t *testing.T) {
	n := startNode(t)
	n.pull()
	image := wantImages(n, 1)[0]
	p := n.runPod("life", nil)
	if s := p.status(); s.State != runtimeapi.PodSandboxState_SANDBOX_READY || s.Network.GetIp() == "" {
		t.Errorf("pod is %v with address %q", s.State, s.Network.GetIp())
	}
	c := p.create("main", []string{"sh", "-c", `trap 'echo end; exit 3' TERM; echo one; echo two >&2; printf three
		while :; do sleep 1000 & wait; done`}, nil)
	if s := c.status(); s.State != runtimeapi.ContainerState_CONTAINER_CREATED || s.StartedAt != 0 {
		t.Errorf("before its start it is %v, started at %d", s.State, s.StartedAt)
	}
	c.start()
	if s := c.status(); s.State != runtimeapi.ContainerState_CONTAINER_RUNNING || s.StartedAt < s.CreatedAt {
		t.Errorf("after its start it is %v, started at %d, made at %d", s.State, s.StartedAt, s.CreatedAt)
	}
	execs(c)
	wantStats(c)
	c.stop(int64(patience.Seconds()))
	if s := c.exit(); s.ExitCode != 3 || s.Reason != "Error" || s.FinishedAt < s.StartedAt {
		t.Errorf("end: %v", s)
	}
	c.stop(0) // of what has ended: no error
	wantLifeLog(c)
	c.remove()
	p.remove()
	if _, err := n.images.RemoveImage(n.ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: image.Id}}); err != nil {
		t.Errorf("RemoveImage: %v", err)
	}
	wantImages(n, 0)
}

func wantImages(n *node, count int) []*runtimeapi.Image {
	n.t.Helper()
	r, err := n.images.ListImages(n.ctx, &runtimeapi.ListImagesRequest{})
	if err != nil || len(r.Images) != count {
		n.t.Fatalf("ListImages: %v, %v, want %d", r.GetImages(), err, count)
	}
	for _, i := range r.Images {
		if !slices.Contains(i.RepoTags, busybox) || len(i.RepoDigests) != 1 || i.Size == 0 {
			n.t.Errorf("image %v", i)
		}
	}
	return r.Images
}

func execs(c *container) {
	for _, test := range []struct {
		script, out, err string
		code             int32
	}{
		{"true", "", "", 0},
		{"exit 7", "", "", 7},
		{"echo out; echo err >&2; exit 1", "out\n", "err\n", 1},
		{"kill -9 $$", "", "", 137},
	} {
		r := c.execSync("sh", "-c", test.script)
		if r.ExitCode != test.code || string(r.Stdout) != test.out || string(r.Stderr) != test.err {
			c.t.Errorf("%s: %d, %q, %q", test.script, r.ExitCode, r.Stdout, r.Stderr)
		}
	}
	_, err := c.runtime.ExecSync(c.ctx, &runtimeapi.ExecSyncRequest{ContainerId: c.id, Cmd: []string{"sleep", "1000"}, Timeout: 1})
	wantCode(c.t, err, codes.DeadlineExceeded)
	_, err = c.runtime.ExecSync(c.ctx, &runtimeapi.ExecSyncRequest{ContainerId: c.id, Cmd: []string{"no-such-program"}})
	if err == nil {
		c.t.Errorf("exec of what is not there is no error")
	}
}

// statsOnceMeasured asks until the writable layer, which is measured beside the call, is known.
func (c *container) statsOnceMeasured() *runtimeapi.ContainerStats {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		r, err := c.runtime.ContainerStats(c.ctx, &runtimeapi.ContainerStatsRequest{ContainerId: c.id})
		if err != nil {
			c.t.Fatalf("ContainerStats: %v", err)
		}
		if r.Stats.GetWritableLayer().GetUsedBytes().GetValue() > 0 || time.Now().After(deadline) {
			return r.Stats
		}
		<-time.After(50 * time.Millisecond) // each call is the question; there is no event to wait for
	}
}

func wantStats(c *container) {
	c.t.Helper()
	c.sh("i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done; head -c 300000 /dev/zero >/tmp/file")
	s := c.statsOnceMeasured()
	for name, v := range map[string]uint64{
		"cpu": s.GetCpu().GetUsageCoreNanoSeconds().GetValue(), "memory": s.GetMemory().GetWorkingSetBytes().GetValue(),
		"writable layer": s.GetWritableLayer().GetUsedBytes().GetValue(),
	} {
		if v == 0 {
			c.t.Errorf("%s usage is 0: %v", name, s)
		}
	}
	list, err := c.runtime.ListContainerStats(c.ctx, &runtimeapi.ListContainerStatsRequest{})
	if err != nil || len(list.Stats) != 1 {
		c.t.Errorf("ListContainerStats: %v, %v", list, err)
	}
	ps, err := c.runtime.PodSandboxStats(c.ctx, &runtimeapi.PodSandboxStatsRequest{PodSandboxId: c.pod.id})
	if err != nil {
		c.t.Fatalf("PodSandboxStats: %v", err)
	}
	l := ps.Stats.GetLinux()
	if l.GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 || len(l.GetContainers()) != 1 || l.GetNetwork().GetDefaultInterface().GetName() != "eth0" ||
		l.GetProcess().GetProcessCount().GetValue() == 0 {
		c.t.Errorf("PodSandboxStats: %v", ps.Stats)
	}
}

// The order between the two streams is not known; within each it is.
func wantLifeLog(c *container) {
	c.t.Helper()
	var out, errs []logLine
	for _, l := range readLog(c.t, c.log) {
		if l.stream == "stdout" {
			out = append(out, l)
		} else {
			errs = append(errs, l)
		}
	}
	if want := []logLine{{"stdout", "F", "one"}, {"stdout", "F", "threeend"}}; !slices.Equal(out, want) {
		c.t.Errorf("stdout in the log: %v", out)
	}
	if want := []logLine{{"stderr", "F", "two"}}; !slices.Equal(errs, want) {
		c.t.Errorf("stderr in the log: %v", errs)
	}
}
