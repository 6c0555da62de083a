package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
)

// Tracing is where spans of calls go.
type Tracing struct {
	Endpoint string  `toml:"endpoint" comment:"host:port of an OTLP collector (gRPC). Empty: what OTEL_EXPORTER_OTLP_ENDPOINT says, else off."`
	Insecure bool    `toml:"insecure" comment:"Speak to it without TLS."`
	Sampling float64 `toml:"sampling" comment:"Share of calls traced, 0 to 1, where the caller (kubelet) has not decided."`
}

// Metrics is where Prometheus finds the agent's figures.
type Metrics struct {
	Address string `toml:"address" comment:"Loopback host:port, or unix:///path (mode 0600). Empty: off."`
}

// Listen is the network and address to listen on; "" = off.
func (m Metrics) Listen() (network, address string) {
	if path, ok := strings.CutPrefix(m.Address, "unix://"); ok {
		return "unix", path
	}
	if m.Address == "" {
		return "", ""
	}
	return "tcp", m.Address
}

// checkObservability: the metrics say what runs on the node, and nobody is asked who they are, so they
// stay on it.
func (c *Config) checkObservability(bad func(key, format string, args ...any)) {
	switch network, address := c.Metrics.Listen(); network {
	case "unix":
		if !filepath.IsAbs(address) {
			bad("metrics.address", "%q is not unix:// and an absolute path", c.Metrics.Address)
		}
	case "tcp":
		if a, err := netip.ParseAddrPort(address); err != nil || !a.Addr().IsLoopback() {
			bad("metrics.address", "%q is neither a loopback address with a port nor unix:///path", address)
		}
	}
	if e := c.Tracing.Endpoint; e != "" {
		if host, port, err := net.SplitHostPort(e); err != nil || host == "" || port == "" {
			bad("tracing.endpoint", "%q is not host:port", e)
		}
	}
	if s := c.Tracing.Sampling; !(s >= 0 && s <= 1) { // NaN is neither
		bad("tracing.sampling", "%v is not in 0 to 1", s)
	}
}
