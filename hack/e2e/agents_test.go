package e2e

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Two agents on one machine know nothing of each other, and neither's end touches the other.
func TestTwoAgents(t *testing.T) {
	a, b := startNode(t), startNode(t)
	a.pull()
	b.pull()
	pa, pb := a.runPod("same", nil), b.runPod("same", nil)
	ca, cb := pa.run("c", forever, nil), pb.run("c", forever, nil)
	a.wantPods(1)
	b.wantPods(1)
	if x, y := pa.status().Network.GetIp(), pb.status().Network.GetIp(); x == y {
		t.Errorf("both pods have the address %s", x)
	}
	_, err := a.runtime.ContainerStatus(a.ctx, &runtimeapi.ContainerStatusRequest{ContainerId: cb.id})
	if err == nil {
		t.Errorf("one agent knows the other's container")
	}
	if got := ca.sh("echo a") + cb.sh("echo b"); got != "ab" {
		t.Errorf("execs: %q", got)
	}
	pa.remove()
	a.wantEmpty()
	a.hangUp()
	a.terminate()
	if found := a.leftovers(); len(found) > 0 {
		t.Errorf("the first left %v", found)
	}
	if _, err := net.InterfaceByName(a.layout.Bridge()); err == nil {
		t.Errorf("the first left its bridge")
	}
	if got := cb.sh("echo still"); got != "still" {
		t.Errorf("the second after the first's end: %q", got)
	}
	if s := pb.status(); s.State != runtimeapi.PodSandboxState_SANDBOX_READY {
		t.Errorf("the second's pod is %s", s.State)
	}
}

// A drain ends running pods; the books show that nothing of them is left, and here not even the bridge.
func TestDrain(t *testing.T) {
	for name, end := range map[string]func(*node){
		"SIGTERM": (*node).terminate,
		"slipway down": func(n *node) {
			a := n.agent
			n.agent = nil
			if out, err := exec.Command(filepath.Join(bin, "slipway"), "--socket", n.socket, "down").CombinedOutput(); err != nil {
				n.t.Errorf("slipway down: %v: %s", err, out)
			}
			<-a.exited
			if a.err != nil {
				n.t.Errorf("the agent ended with %v: %s", a.err, a.log())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t)
			n.pull()
			for _, pod := range []string{"a", "b", "c"} {
				p := n.runPod(pod, withOptions(&runtimeapi.NamespaceOption{Pid: map[string]runtimeapi.NamespaceMode{"a": modePod}[pod]}))
				p.run("c", []string{"sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"}, nil)
				p.create("waiting", forever, nil)
				p.run("over", []string{"true"}, nil).exit()
			}
			if _, err := net.InterfaceByName(n.layout.Bridge()); err != nil {
				t.Errorf("no bridge while pods run: %v", err)
			}
			n.hangUp()
			end(n)
			if _, err := net.InterfaceByName(n.layout.Bridge()); err == nil {
				t.Errorf("the bridge is still there")
			}
		})
	}
}

// Without --drain-on-exit SIGTERM leaves everything running, for the next agent.
func TestTermWithoutDrain(t *testing.T) {
	n := newNode(t, "--drain-on-exit=false")
	n.start()
	n.pull()
	c := n.runPod("stays", nil).run("c", forever, nil)
	pid := c.pid()
	n.hangUp()
	n.terminate()
	if !isRunning(pid) {
		t.Errorf("the container ended with the agent")
	}
	if _, err := os.Lstat(n.socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stayed: %v", err)
	}
	n.flags = nil
	n.start()
	if got := c.sh("echo here"); got != "here" {
		t.Errorf("exec under the next agent: %q", got)
	}
	if got := c.pid(); got != pid {
		t.Errorf("pid %d was %d", got, pid)
	}
}
