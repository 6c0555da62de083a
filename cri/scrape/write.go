package scrape

import (
	"cmp"
	"runtime"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func cmpNames(a, b string) int { return strings.Compare(a, b) }

// write makes the page.
func (m *Metrics) write(om bool) []byte {
	p := &page{om: om, b: make([]byte, 0, 32<<10)}
	p.family("slipway_build_info", gauge, "The agent's version; the value is always 1.")
	p.sample(1, "version", m.from.Version, "goversion", runtime.Version())
	m.writeCalls(p)
	m.writeSteps(p)
	m.writePods(p)
	m.writeImages(p)
	if f := m.from.Reconnects; f != nil {
		p.one("slipway_monitor_reconnects_total", counter, "Times the connection to slipway-monitor was made again.", float64(f()))
	}
	if f := m.from.SpansDropped; f != nil {
		p.one("slipway_trace_spans_dropped_total", counter, "Spans that no collector took.", float64(f()))
	}
	writeGo(p)
	writeProcess(p)
	return p.end()
}

func (m *Metrics) writeCalls(p *page) {
	all := m.sortedCalls()
	p.family("slipway_cri_call_duration_seconds", "histogram", "How long CRI calls took, by method; GetContainerEvents, which lasts as long as its reader, left out.")
	for _, c := range all {
		if !c.endless && c.total() > 0 {
			p.histogram(&c.took, "method", c.name)
		}
	}
	p.family("slipway_cri_calls_total", counter, "CRI calls that have ended, by method and gRPC code.")
	for _, c := range all {
		for code := range c.codes {
			if n := c.codes[code].Load(); n > 0 {
				p.sample(float64(n), "method", c.name, "code", codes.Code(code).String())
			}
		}
	}
	p.family("slipway_cri_calls_in_flight", gauge, "CRI calls under way, by method.")
	for _, c := range all {
		p.sample(float64(c.inFlight.Load()), "method", c.name)
	}
}

func (m *Metrics) writeSteps(p *page) {
	type row struct {
		stepName
		*stepFigures
	}
	var all []row
	m.mu.RLock()
	for n, f := range m.steps {
		all = append(all, row{n, f})
	}
	m.mu.RUnlock()
	slices.SortFunc(all, func(a, b row) int {
		return cmp.Or(cmpNames(a.call, b.call), cmpNames(a.step, b.step))
	})
	p.family("slipway_step_duration_seconds", "histogram", "How long the steps of calls took; STEP/PART is a part of a step.")
	for _, r := range all {
		p.histogram(&r.took, "method", r.call, "step", r.step)
	}
	p.family("slipway_step_failures_total", counter, "Steps that failed, and with them their call.")
	for _, r := range all {
		if !strings.Contains(r.step, "/") {
			p.sample(float64(r.failed.Load()), "method", r.call, "step", r.step)
		}
	}
}

var (
	podStates       = []lifecycle.PodState{lifecycle.PodCreating, lifecycle.PodReady, lifecycle.PodStopping, lifecycle.PodNotReady, lifecycle.PodRemoving}
	containerStates = []lifecycle.ContainerState{
		lifecycle.ContainerCreating, lifecycle.ContainerCreated, lifecycle.ContainerStarting,
		lifecycle.ContainerRunning, lifecycle.ContainerExited, lifecycle.ContainerRemoving,
	}
)

func (m *Metrics) writePods(p *page) {
	if f := m.from.Pods; f != nil {
		n := map[lifecycle.PodState]int{}
		for _, v := range f() {
			n[v.State]++
		}
		p.family("slipway_pods", gauge, "Pod sandboxes by state.")
		for _, s := range podStates {
			p.sample(float64(n[s]), "state", string(s))
		}
	}
	if f := m.from.Containers; f != nil {
		n := map[lifecycle.ContainerState]int{}
		for _, v := range f() {
			n[v.State]++
		}
		p.family("slipway_containers", gauge, "Containers by state.")
		for _, s := range containerStates {
			p.sample(float64(n[s]), "state", string(s))
		}
	}
}

func (m *Metrics) writeImages(p *page) {
	if f := m.from.Images; f != nil {
		all := f()
		var size int64
		for _, i := range all {
			size += i.Size
		}
		p.one("slipway_images", gauge, "Images in the store.", float64(len(all)))
		p.one("slipway_images_bytes", gauge, "Bytes of all images unpacked, shared layers counted for each.", float64(size))
	}
	if f := m.from.Pulls; f != nil {
		v := f()
		p.family("slipway_image_pulls_total", counter, "Pulls that have ended; callers that joined one are not counted.")
		p.sample(float64(v.Done), "result", "ok")
		p.sample(float64(v.Failed), "result", "error")
		p.one("slipway_image_pull_bytes_total", counter, "Bytes of compressed layers that were unpacked in pulls.", float64(v.Bytes))
	}
}
