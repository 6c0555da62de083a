package scrape

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/steps"
)

const runPod = "/runtime.v1.RuntimeService/RunPodSandbox"

func figures() *Metrics {
	return New(Sources{
		Pods: func() []*pods.Pod {
			return []*pods.Pod{{State: lifecycle.PodReady}, {State: lifecycle.PodReady}, {State: lifecycle.PodNotReady}}
		},
		Containers: func() []*containers.Container { return []*containers.Container{{State: lifecycle.ContainerRunning}} },
		Images:     func() []*images.Image { return []*images.Image{{Size: 3}, {Size: 4}} },
		Pulls:      func() images.Pulls { return images.Pulls{Done: 5, Failed: 1, Bytes: 1 << 20} },
		Reconnects: func() uint64 { return 2 }, SpansDropped: func() uint64 { return 0 },
		Version: "0.1.0 \"odd\\\n",
	}, runtimeapi.RuntimeService_ServiceDesc, runtimeapi.ImageService_ServiceDesc)
}

// busy makes a good pod start and one that fails in its second step, and a call under way.
func busy(m *Metrics) {
	for _, boom := range []error{nil, errors.New("boom")} {
		ctx := m.Begin(context.Background(), runPod, nil)
		_, err := steps.Run(ctx, []steps.Step{
			{Name: "files", Do: func(context.Context) error { return nil }},
			{Name: "namespaces", Do: func(ctx context.Context) error { steps.Lap(ctx, "clone"); return boom }},
		})
		if err != nil {
			err = status.Error(codes.ResourceExhausted, err.Error())
		}
		m.End(ctx, runPod, 3*time.Millisecond, err)
	}
	const events = "/runtime.v1.RuntimeService/GetContainerEvents"
	m.End(m.Begin(context.Background(), events, nil), events, time.Hour, nil)
	m.Begin(context.Background(), "/runtime.v1.ImageService/PullImage", nil)
	m.End(m.Begin(context.Background(), "/other/Call", nil), "/other/Call", time.Second, nil)
}

var sampleLine = regexp.MustCompile(`^([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (\S+)$`)

// parse reads a page strictly: each family once with HELP and TYPE before its samples, each sample once.
// The samples come back by "name{labels}".
func parse(t *testing.T, text string, om bool) map[string]float64 {
	t.Helper()
	if !strings.HasSuffix(text, "\n") {
		t.Error("no newline at the end")
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if om {
		if lines[len(lines)-1] != "# EOF" {
			t.Error("OpenMetrics without # EOF")
		}
		lines = lines[:len(lines)-1]
	}
	out, kinds, family := map[string]float64{}, map[string]string{}, ""
	for _, l := range lines {
		if rest, ok := strings.CutPrefix(l, "# HELP "); ok {
			family, _, _ = strings.Cut(rest, " ")
			continue
		}
		if rest, ok := strings.CutPrefix(l, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			if name != family || kinds[name] != "" {
				t.Errorf("%q after HELP of %s, kind before %q", l, family, kinds[name])
			}
			kinds[name] = kind
			continue
		}
		m := sampleLine.FindStringSubmatch(l)
		if m == nil {
			t.Errorf("no sample: %q", l)
			continue
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Error(l, err)
		}
		suffix, ok := strings.CutPrefix(m[1], family)
		allowed := map[string][]string{"gauge": {""}, "counter": {""}, "histogram": {"_bucket", "_sum", "_count"}}
		if om {
			allowed["counter"] = []string{"_total"}
		}
		if !ok || !slices.Contains(allowed[kinds[family]], suffix) {
			t.Errorf("%q in family %s of kind %s", l, family, kinds[family])
		}
		key := m[1] + "{" + m[2] + "}"
		if _, twice := out[key]; twice {
			t.Errorf("twice: %s", key)
		}
		out[key] = v
	}
	return out
}

func scrape(t *testing.T, c *http.Client, url string, header map[string]string) (string, http.Header) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := io.Reader(resp.Body)
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	b, err := io.ReadAll(body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	return string(b), resp.Header
}

// serve serves m on loopback; the client does not ask for gzip by itself.
func serve(t *testing.T, m *Metrics) (*http.Client, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, served := NewServer(m), make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(func() {
		c.CloseIdleConnections()
		if err := errors.Join(s.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return c, "http://" + l.Addr().String() + "/metrics"
}

func TestScrape(t *testing.T) {
	m := figures()
	busy(m)
	c, url := serve(t, m)
	for _, om := range []bool{false, true} {
		header, wantType := map[string]string{}, textType
		if om {
			header["Accept"], wantType = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", openMetricsType
		}
		text, h := scrape(t, c, url, header)
		if h.Get("Content-Type") != wantType {
			t.Errorf("Content-Type %q", h.Get("Content-Type"))
		}
		got := parse(t, text, om)
		inf := `le="+Inf"`
		for key, want := range map[string]float64{
			`slipway_pods{state="ready"}`: 2, `slipway_pods{state="notready"}`: 1, `slipway_pods{state="creating"}`: 0,
			`slipway_containers{state="running"}`: 1, `slipway_images{}`: 2, `slipway_images_bytes{}`: 7,
			`slipway_image_pulls_total{result="ok"}`: 5, `slipway_image_pulls_total{result="error"}`: 1,
			`slipway_image_pull_bytes_total{}`: 1 << 20, `slipway_monitor_reconnects_total{}`: 2, `slipway_trace_spans_dropped_total{}`: 0,
			`slipway_cri_calls_total{method="RunPodSandbox",code="OK"}`:                                                  1,
			`slipway_cri_calls_total{method="RunPodSandbox",code="ResourceExhausted"}`:                                   1,
			`slipway_cri_calls_total{method="GetContainerEvents",code="OK"}`:                                             1,
			`slipway_cri_calls_in_flight{method="PullImage"}`:                                                            1,
			`slipway_cri_calls_in_flight{method="RunPodSandbox"}`:                                                        0,
			`slipway_cri_call_duration_seconds_bucket{method="RunPodSandbox",le="0.0025"}`:                               0,
			`slipway_cri_call_duration_seconds_bucket{method="RunPodSandbox",le="0.005"}`:                                2,
			`slipway_cri_call_duration_seconds_bucket{method="RunPodSandbox",` + inf + `}`:                               2,
			`slipway_cri_call_duration_seconds_sum{method="RunPodSandbox"}`:                                              0.006,
			`slipway_cri_call_duration_seconds_count{method="RunPodSandbox"}`:                                            2,
			`slipway_step_duration_seconds_count{method="RunPodSandbox",step="files"}`:                                   2,
			`slipway_step_duration_seconds_count{method="RunPodSandbox",step="namespaces/clone"}`:                        2,
			`slipway_step_failures_total{method="RunPodSandbox",step="namespaces"}`:                                      1,
			`slipway_step_failures_total{method="RunPodSandbox",step="files"}`:                                           0,
			`slipway_step_duration_seconds_bucket{method="RunPodSandbox",step="files",` + inf + `}`:                      2,
			`slipway_build_info{version="0.1.0 \"odd\\\n",goversion="` + goVersion(slices.Sorted(maps.Keys(got))) + `"}`: 1,
		} {
			if v, ok := got[key]; !ok || v != want {
				t.Errorf("OpenMetrics %v: %s = %v (%v), want %v", om, key, v, ok, want)
			}
		}
		for _, key := range []string{"go_goroutines{}", "process_resident_memory_bytes{}", "process_open_fds{}", "process_cpu_seconds_total{}", "go_memstats_sys_bytes{}"} {
			if got[key] <= 0 {
				t.Errorf("%s = %v", key, got[key])
			}
		}
		if age := float64(time.Now().Unix()) - got["process_start_time_seconds{}"]; age < -2 || age > 3600 {
			t.Errorf("started %v seconds ago", age)
		}
		for key := range got {
			if strings.Contains(key, "other") || strings.Contains(key, `duration_seconds_count{method="GetContainerEvents"`) {
				t.Errorf("%s should not be there", key)
			}
		}
	}
}

// goVersion finds the toolchain in go_info's label.
func goVersion(keys []string) string {
	for _, k := range keys {
		if v, ok := strings.CutPrefix(k, `go_info{version="`); ok {
			return strings.TrimSuffix(v, `"}`)
		}
	}
	return ""
}

func TestCompressed(t *testing.T) {
	c, url := serve(t, figures())
	text, h := scrape(t, c, url, map[string]string{"Accept-Encoding": "gzip"})
	if h.Get("Content-Encoding") != "gzip" {
		t.Error("not compressed")
	}
	parse(t, text, false)
}

func TestNegotiation(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "text/plain": false,
		"application/openmetrics-text":                                 true,
		"application/openmetrics-text; version=1.0.0":                  true,
		"application/openmetrics-text; version=2.0.0":                  false,
		"application/openmetrics-text;q=0":                             false,
		"application/openmetrics-text;q=0.3,text/plain;q=0.7":          false,
		"text/plain;q=0.3, APPLICATION/OpenMetrics-Text ; q=0.7 , */*": false,
		"application/openmetrics-text;q=bad":                           false,
	} {
		if got := prefersOpenMetrics([]string{accept}); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

func TestStat(t *testing.T) {
	line := "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 8192 12 99"
	start, virtual, resident, ok := parseStat([]byte(line))
	if !ok || start != 4242 || virtual != 8192 || resident != 12 {
		t.Error(start, virtual, resident, ok)
	}
	for _, bad := range []string{"", "7 (a", "7 (a) S 1 2", strings.Replace(line, "8192", "x", 1)} {
		if _, _, _, ok := parseStat([]byte(bad)); ok {
			t.Errorf("%q parses", bad)
		}
	}
}

// BenchmarkCall is what a call pays: one context for the steps' observer.
func BenchmarkCall(b *testing.B) {
	m := figures()
	b.ReportAllocs()
	for b.Loop() {
		m.End(m.Begin(context.Background(), runPod, nil), runPod, time.Millisecond, nil)
	}
}

// BenchmarkSteps is what the steps of a pod's start pay.
func BenchmarkSteps(b *testing.B) {
	m := figures()
	all := []steps.Took{{Name: "record"}, {Name: "namespaces", Parts: []steps.Took{{Name: "clone"}, {Name: "pin"}}}, {Name: "network"}}
	b.ReportAllocs()
	for b.Loop() {
		m.calls[runPod].Ran(time.Time{}, all, nil)
	}
}

func BenchmarkScrape(b *testing.B) {
	m := figures()
	busy(m)
	b.ReportAllocs()
	for b.Loop() {
		m.write(false)
	}
}
