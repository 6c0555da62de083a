package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Whatever runs goes on without the agent, and the next agent knows all of it.
func TestAgentKilledUnderContainers(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("kept", nil)
	writer := p.run("writer", []string{"sh", "-c", `i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); echo "line $i"; [ $((i%100)) = 0 ] && usleep 1000; done; exit 11`}, nil)
	// It ends when the node's file says so: while no agent runs.
	n.write("signal/no", "")
	leaver := p.run("leaver", []string{"sh", "-c", "echo here; while [ ! -e /signal/go ]; do usleep 5000; done; exit 42"}, func(c *containerConfig) {
		c.Mounts = []*runtimeapi.Mount{{HostPath: n.dir + "/signal", ContainerPath: "/signal"}}
	})
	created := p.create("created", []string{"sh", "-c", "exit 13"}, nil)
	pid := leaver.pid()
	before := writer.status()

	n.kill()
	n.write("signal/go", "")
	eventually(t, "the leaver's end", func() bool { return !isRunning(pid) })
	n.start()

	r, err := n.runtime.ListContainers(n.ctx, &runtimeapi.ListContainersRequest{})
	if err != nil || len(r.Containers) != 3 {
		t.Fatalf("ListContainers: %v, %v", r, err)
	}
	if s := leaver.exit(); s.ExitCode != 42 || s.Reason != "Error" || s.FinishedAt < s.StartedAt {
		t.Errorf("what ended meanwhile: %v", s)
	}
	if s := writer.status(); s.State != before.State || s.StartedAt != before.StartedAt || s.CreatedAt != before.CreatedAt {
		t.Errorf("what ran on: %v, before: %v", s, before)
	}
	if s := p.status(); s.State != runtimeapi.PodSandboxState_SANDBOX_READY || s.Network.GetIp() == "" {
		t.Errorf("pod: %v", s)
	}
	created.start()
	if s := created.exit(); s.ExitCode != 13 {
		t.Errorf("what was created before and started after: %v", s)
	}
	stats, err := n.runtime.ContainerStats(n.ctx, &runtimeapi.ContainerStatsRequest{ContainerId: writer.id})
	if err != nil || stats.Stats.GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 {
		t.Errorf("ContainerStats: %v, %v", stats, err)
	}
	if got := leaver.output(); got != "here\n" {
		t.Errorf("log: %q", got)
	}
	writer.execSync("touch", "/tmp/stop") // its own end may be the container's, before it has an exit code
	if s := writer.exit(); s.ExitCode != 11 {
		t.Errorf("the writer ended with %d", s.ExitCode)
	}
	if got := numbered(t, writer.log); got == 0 {
		t.Errorf("no line in the log")
	}
}

// isRunning tells whether the process is there and no zombie.
func isRunning(pid int) bool {
	stat, err := readFields(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && len(stat) > 0 && stat[0] != "Z"
}

// The agent dies again and again in the middle of everything. What it left must be what the next one
// can list, remove, and make again.
func TestAgentKilledAnywhere(t *testing.T) {
	rounds, workers := scaled(20, 4), scaled(4, 2)
	n := startNode(t)
	n.pull()
	began := time.Now()
	if err := n.cycle(n.ctx, "before", nil); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	random := rand.New(rand.NewPCG(1, 2))
	var done atomic.Int64
	for round := range rounds {
		ctx, cancel := context.WithCancel(n.ctx)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					if n.cycle(ctx, fmt.Sprintf("r%d-w%d-%d", round, w, i), nil) == nil {
						done.Add(1)
					}
				}
			})
		}
		// The instant itself is what is tried here, there is no event to wait for; some pods are to live to their end.
		timer := time.NewTimer(time.Duration(random.Float64() * 6 * float64(took)))
		<-timer.C
		a := n.agent
		if err := a.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-a.exited
		cancel()
		wg.Wait()
		n.hangUp()
		n.agent = nil
		n.start()
		n.wantConsistent(round)
	}
	if done.Load() == 0 {
		t.Errorf("no pod lived to its end in any round")
	}
	r, err := n.runtime.ListPodSandbox(n.ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Items {
		if err := n.takeDown(n.ctx, p.Id); err != nil {
			t.Errorf("pod %s: %v", p.Metadata.Name, err)
		}
	}
	if err := n.cycle(n.ctx, "after", n.execTrue(n.ctx)); err != nil {
		t.Errorf("a pod afterwards: %v", err)
	}
}

// wantConsistent checks that what is listed is what can be asked for: pods have status, containers have
// pods, and what is said to run does run. The odd ones of it are removed.
func (n *node) wantConsistent(round int) {
	n.t.Helper()
	pods, err := n.runtime.ListPodSandbox(n.ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		n.t.Fatalf("round %d: %v", round, err)
	}
	known := map[string]bool{}
	for _, p := range pods.Items {
		known[p.Id] = true
		_, err := n.runtime.PodSandboxStatus(n.ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: p.Id})
		if err != nil {
			n.t.Errorf("round %d: status of a listed pod: %v", round, err)
		}
	}
	containers, err := n.runtime.ListContainers(n.ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		n.t.Fatalf("round %d: %v", round, err)
	}
	for _, c := range containers.Containers {
		if !known[c.PodSandboxId] {
			n.t.Errorf("round %d: a container without its pod: %v", round, c)
		}
		if c.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
			if err := n.execTrue(n.ctx)(c.Id); err != nil {
				// The agent may have died between a stop's signal and the end that follows from it.
				s := (&container{pod: &pod{node: n}, id: c.Id}).exit()
				n.t.Logf("round %d: ended with %d while it was looked at: %v", round, s.ExitCode, err)
			}
		}
		if c.State == runtimeapi.ContainerState_CONTAINER_UNKNOWN {
			n.t.Errorf("round %d: a container of unknown state: %v", round, c)
		}
	}
	for i, p := range pods.Items {
		if i%2 == 0 {
			if err := n.takeDown(n.ctx, p.Id); err != nil {
				n.t.Errorf("round %d: %v", round, err)
			}
		}
	}
}
