package e2e

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/metadata"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestObserved: a pod's start with everything on. Its spans carry the caller's trace, its steps are in the
// metrics and in the verbose statuses, and the tool draws them.
func TestObserved(t *testing.T) {
	var mu sync.Mutex
	var spans strings.Builder
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		spans.Write(b)
	}))
	t.Cleanup(collector.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	n := newNode(t)
	socket := filepath.Join(n.dir, "m.sock")
	n.write("config.toml", "[stop]\ndrain_grace = '1s'\n[metrics]\naddress = 'unix://"+socket+"'\n")
	n.start()
	n.pull()
	const trace = "0af7651916cd43dd8448eb211c80319c"
	n.ctx = metadata.AppendToOutgoingContext(n.ctx, "traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	p := n.runPod("seen", nil)
	created, err := n.runtime.CreateContainer(n.ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: p.id, Config: p.config("main", forever, nil), SandboxConfig: p.cfg,
	})
	if err != nil {
		t.Fatal(err)
	}
	id := created.ContainerId
	if _, err := n.runtime.StartContainer(n.ctx, &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
	page := scrape(t, socket)
	for _, line := range []string{
		`slipway_cri_calls_total{method="StartContainer",code="OK"} 1`, `slipway_pods{state="ready"} 1`, `slipway_containers{state="running"} 1`,
		`slipway_step_duration_seconds_count{method="RunPodSandbox",step="namespaces/clone"} 1`,
		`slipway_step_duration_seconds_count{method="StartContainer",step="exec"} 1`, `slipway_image_pulls_total{result="ok"} 1`,
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("no %s in the metrics", line)
		}
	}
	r, err := n.runtime.ContainerStatus(n.ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Pid           int
		RuntimeSpec   struct{ Process struct{ Args []string } }
		StartTimeline []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(r.GetInfo()["info"]), &info); err != nil || info.Pid == 0 || len(info.RuntimeSpec.Process.Args) != 2 || len(info.StartTimeline) != 2 {
		t.Errorf("verbose status: %+v, %v", info, err)
	}
	drawn(t, n)
	p.remove()
	n.end() // the agent sends its last spans
	mu.Lock()
	defer mu.Unlock()
	raw, _ := hex.DecodeString(trace)
	for _, want := range []string{string(raw), "RunPodSandbox", "namespaces", "StartContainer", "exec"} {
		if !strings.Contains(spans.String(), want) {
			t.Errorf("no %q in the spans", want)
		}
	}
}

// drawn checks the three forms of slipway trace.
func drawn(t *testing.T, n *node) {
	t.Helper()
	run := func(format string) string {
		out, err := exec.Command(filepath.Join(bin, "slipway"), "--socket", "unix://"+n.socket, "trace", "seen", "-o", format).CombinedOutput()
		if err != nil {
			t.Fatalf("slipway trace -o %s: %v: %s", format, err, out)
		}
		return string(out)
	}
	text := run("table")
	for _, row := range []string{"RunPodSandbox ", "    clone ", "CreateContainer main ", "StartContainer main ", "  exec "} {
		if !strings.Contains(text, "\n"+row) {
			t.Errorf("no row %q in\n%s", row, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Error("colours without a terminal")
	}
	var chart struct{ Calls []struct{ At, Took int64 } }
	if err := json.Unmarshal([]byte(run("json")), &chart); err != nil || len(chart.Calls) != 3 {
		t.Fatalf("%+v, %v", chart, err)
	}
	for i, c := range chart.Calls {
		if c.Took <= 0 || i > 0 && c.At < chart.Calls[i-1].At+chart.Calls[i-1].Took {
			t.Errorf("calls that followed each other: %+v", chart.Calls)
		}
	}
	if svg := run("svg"); xml.Unmarshal([]byte(svg), new(struct{})) != nil || !strings.HasPrefix(svg, "<svg ") {
		t.Errorf("no SVG: %s", svg)
	}
}

func scrape(t *testing.T, socket string) string {
	t.Helper()
	c := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	resp, err := c.Get("http://node/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
