package agent

import (
	"testing"

	"github.com/slipway-cri/slipway/agent/config"
	"github.com/slipway-cri/slipway/agent/ocispec"
)

func TestHandlerHosts(t *testing.T) {
	c := config.Default()
	c.Runtime.Handlers = map[string]config.Handler{"tight": {PrivilegedWithoutHostDevices: true, AppArmorProfile: "tight"}, "plain": {}}
	hosts := handlerHosts(ocispec.Host{AppArmorDefault: "usual", Swap: true}, c)
	if len(hosts) != 4 {
		t.Fatalf("%d handlers", len(hosts))
	}
	for _, name := range []string{"", "slipway", "plain"} {
		if h := hosts[name]; h.NoHostDevices || h.AppArmorDefault != "usual" || !h.Swap {
			t.Errorf("%q: %+v", name, h)
		}
	}
	if h := hosts["tight"]; !h.NoHostDevices || h.AppArmorDefault != "tight" || !h.Swap {
		t.Errorf("tight: %+v", h)
	}
	if cdiDevices(nil) != nil {
		t.Error("CDI without directories")
	}
}
