// Package metrics says what CRI's metrics calls (KEP-2371) answer: one table holds every family with
// cAdvisor's name, unit and type, and both its descriptor and its values come from there. It is pure.
// A family without a figure (no quota, no huge pages, a kernel that does not say) has no metric.
//
// Not its job: the reading, which is agent/stats'. CRI carries whole numbers, so seconds are rounded down.
package metrics

import (
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/runtime"
	"github.com/slipway-cri/slipway/agent/stats"
	"github.com/slipway-cri/slipway/cri/convert"
)

// baseLabels are on every metric: those of kubelet's /metrics/cadvisor. id is the cgroup's path, name the
// container's id or the pod's; a pod's own metrics have no container and no image.
var baseLabels = []string{"container", "id", "image", "name", "namespace", "pod"}

// family is one metric's name with everything that goes under it.
type family struct {
	name, help string
	kind       runtimeapi.MetricType
	labels     []string // beside baseLabels
	values     func(*source) []sample
}

// sample is one value with the values of its family's own labels.
type sample struct {
	value  uint64
	labels []string
}

// source is what the families take their values from: a pod, or a container of one.
type source struct {
	at        time.Time
	started   time.Time
	detail    *runtime.Detail        // nil: the cgroup is gone
	container *stats.ContainerDetail // nil for a pod
	links     []stats.Interface      // a pod's
	limits    *runtimeapi.LinuxContainerResources
	fs        stats.Filesystem
	device    func(major, minor uint32) string
}

// Descriptors are all families, in the order of the table.
func Descriptors() []*runtimeapi.MetricDescriptor {
	all := make([]*runtimeapi.MetricDescriptor, len(families))
	for i, f := range families {
		all[i] = &runtimeapi.MetricDescriptor{
			Name: f.name, Help: f.help, LabelKeys: append(append([]string(nil), baseLabels...), f.labels...),
		}
	}
	return all
}

// Pods turns readings into metrics. at is when they were taken; device names a block device.
func Pods(d *stats.Details, names convert.ImageNames, at time.Time, device func(major, minor uint32) string) []*runtimeapi.PodSandboxMetrics {
	all := make([]*runtimeapi.PodSandboxMetrics, len(d.Pods))
	for i := range d.Pods {
		all[i] = pod(&d.Pods[i], d.Filesystem, names, at, device)
	}
	return all
}

func pod(p *stats.PodDetail, fs stats.Filesystem, names convert.ImageNames, at time.Time, device func(major, minor uint32) string) *runtimeapi.PodSandboxMetrics {
	cfg := p.Pod.Config
	of := cfg.GetMetadata()
	s := &source{
		at: at, started: p.Pod.CreatedAt, detail: p.Detail, links: p.Interfaces,
		limits: cfg.GetLinux().GetResources(), fs: fs, device: device,
	}
	out := &runtimeapi.PodSandboxMetrics{
		PodSandboxId: p.Pod.ID,
		Metrics:      s.metrics([]string{"", p.Pod.CgroupPath, "", p.Pod.ID, of.GetNamespace(), of.GetName()}),
	}
	for i := range p.Containers {
		d := &p.Containers[i]
		c := d.Container
		s := &source{
			at: at, started: c.StartedAt, detail: d.Detail, container: d,
			limits: c.Config.GetLinux().GetResources(), fs: fs, device: device,
		}
		base := []string{c.Config.GetMetadata().GetName(), c.CgroupPath, convert.ImageName(c, names), c.ID, of.GetNamespace(), of.GetName()}
		out.ContainerMetrics = append(out.ContainerMetrics, &runtimeapi.ContainerMetrics{
			ContainerId: c.ID, Metrics: s.metrics(base),
		})
	}
	return out
}

// metrics is every family's. The timestamp stays 0: CRI's word for "read just now".
func (s *source) metrics(base []string) []*runtimeapi.Metric {
	all := make([]*runtimeapi.Metric, 0, len(families)+8)
	for i := range families {
		f := &families[i]
		for _, v := range f.values(s) {
			labels := base
			if len(v.labels) > 0 {
				labels = append(append(make([]string, 0, len(base)+len(v.labels)), base...), v.labels...)
			}
			all = append(all, &runtimeapi.Metric{
				Name: f.name, MetricType: f.kind, LabelValues: labels, Value: &runtimeapi.UInt64Value{Value: v.value},
			})
		}
	}
	return all
}
