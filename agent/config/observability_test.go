package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func TestObservability(t *testing.T) {
	for _, c := range []struct{ toml, bad string }{
		{"", ""},
		{"[metrics]\naddress = '127.0.0.1:9090'", ""},
		{"[metrics]\naddress = '[::1]:0'", ""},
		{"[metrics]\naddress = 'unix:///run/m.sock'", ""},
		{"[metrics]\naddress = ':9090'", "metrics.address"},
		{"[metrics]\naddress = '10.0.0.1:9090'", "metrics.address"},
		{"[metrics]\naddress = 'localhost'", "metrics.address"},
		{"[metrics]\naddress = 'unix://m.sock'", "metrics.address"},
		{"[tracing]\nendpoint = 'collector:4317'\nsampling = 0.1\ninsecure = true", ""},
		{"[tracing]\nendpoint = 'http://collector:4317'", "tracing.endpoint"},
		{"[tracing]\nendpoint = 'collector'", "tracing.endpoint"},
		{"[tracing]\nsampling = 1.5", "tracing.sampling"},
		{"[tracing]\nsampling = nan", "tracing.sampling"},
	} {
		cfg, err := Parse([]byte(c.toml))
		if err != nil {
			t.Fatalf("%s: %v", c.toml, err)
		}
		err = cfg.Check()
		if c.bad == "" && err != nil || c.bad != "" && (!errors.Is(err, lifecycle.ErrInvalid) || !strings.Contains(err.Error(), c.bad)) {
			t.Errorf("%s: %v", c.toml, err)
		}
	}
}
