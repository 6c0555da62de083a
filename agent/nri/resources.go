package nri

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/containerd/nri/pkg/api"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// resources maps a plugin's limits; what it did not set is nil in the result.
func (n *NRI) resources(r *api.LinuxResources) (*specs.LinuxResources, error) {
	out := r.ToOCI()
	if out == nil {
		return &specs.LinuxResources{}, nil
	}
	for name, class := range map[string]*api.OptionalString{"blockio": r.GetBlockioClass(), "RDT": r.GetRdtClass()} {
		if class.GetValue() != "" {
			return nil, fmt.Errorf("%s class %q: %w", name, class.GetValue(), lifecycle.ErrUnsupported)
		}
	}
	if m := out.Memory; m != nil {
		if m.Limit != nil && *m.Limit == 0 {
			m.Limit = nil // plugins send zero for "as it is"
		}
		switch {
		case !n.o.Swap:
			m.Swap = nil // there is no swap to limit
		case m.Limit != nil && m.Swap == nil:
			m.Swap = m.Limit // no swap, as for a request
		}
		if *m == (specs.LinuxMemory{}) {
			out.Memory = nil
		}
	}
	if out.CPU != nil && *out.CPU == (specs.LinuxCPU{}) {
		out.CPU = nil
	}
	if out.Pids != nil && out.Pids.Limit == nil {
		unlimited := int64(api.UnlimitedPidsLimit)
		out.Pids.Limit = &unlimited
	}
	return out, nil
}

// merge puts what from sets into to, whose parts may be shared and stay as they are.
func merge(to, from *specs.LinuxResources) {
	if from.CPU != nil {
		c := specs.LinuxCPU{}
		if to.CPU != nil {
			c = *to.CPU
		}
		overlay(&c, from.CPU)
		to.CPU = &c
	}
	if from.Memory != nil {
		m := specs.LinuxMemory{}
		if to.Memory != nil {
			m = *to.Memory
		}
		overlay(&m, from.Memory)
		to.Memory = &m
	}
	if from.Pids != nil {
		p := *from.Pids
		to.Pids = &p
	}
	for _, h := range from.HugepageLimits {
		to.HugepageLimits = slices.DeleteFunc(slices.Clone(to.HugepageLimits), func(o specs.LinuxHugepageLimit) bool { return o.Pagesize == h.Pagesize })
		to.HugepageLimits = append(to.HugepageLimits, h)
	}
	if len(from.Unified) > 0 {
		next := maps.Clone(from.Unified)
		for k, v := range to.Unified {
			if _, ok := next[k]; !ok {
				next[k] = v
			}
		}
		to.Unified = next
	}
	to.Devices = append(slices.Clip(to.Devices), from.Devices...)
}

// overlay copies the fields of from that are set (neither nil nor empty) into to, a struct of pointers and strings.
func overlay[T any](to, from *T) {
	dst, src := reflect.ValueOf(to).Elem(), reflect.ValueOf(from).Elem()
	for i := range src.NumField() {
		if f := src.Field(i); !f.IsZero() {
			dst.Field(i).Set(f)
		}
	}
}
