package scrape

import (
	"compress/gzip"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Content types, as a Prometheus server asks for them.
const (
	textType        = "text/plain; version=0.0.4; charset=utf-8"
	openMetricsType = "application/openmetrics-text; version=1.0.0; charset=utf-8"
)

// Server answers scrapes at /metrics.
type Server struct{ http http.Server }

// NewServer makes one; it does not listen.
func NewServer(m *Metrics) *Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m)
	return &Server{http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 64 << 10,
	}}
}

// Serve answers on l until Close, which makes it return nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends it, scrapes under way too.
func (s *Server) Close() error { return s.http.Close() }

// ServeHTTP writes the page in the format that the request prefers.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	om := prefersOpenMetrics(r.Header.Values("Accept"))
	h := w.Header()
	h.Set("Content-Type", textType)
	if om {
		h.Set("Content-Type", openMetricsType)
	}
	body := m.write(om)
	if quality(r.Header.Values("Accept-Encoding"), "gzip") > 0 {
		h.Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write(body) // a scraper that leaves has nobody to be told
		_ = z.Close()
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

// prefersOpenMetrics compares what an Accept header (RFC 9110, section 12.5.1) gives to OpenMetrics 1.0.0 or
// without a version, and to text.
func prefersOpenMetrics(accept []string) bool {
	om, text := 0.0, 0.0
	for _, e := range elements(accept) {
		switch e.name {
		case "application/openmetrics-text":
			if v := e.params["version"]; v == "" || v == "1.0.0" {
				om = max(om, e.q)
			}
		case "text/plain", "text/*", "*/*":
			text = max(text, e.q)
		}
	}
	return om > 0 && om >= text
}

func quality(headers []string, name string) float64 {
	for _, e := range elements(headers) {
		if e.name == name {
			return e.q
		}
	}
	return 0
}

type element struct {
	name   string
	params map[string]string
	q      float64
}

// elements are what a header with weights lists.
func elements(headers []string) (all []element) {
	for part := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		name, rest, _ := strings.Cut(part, ";")
		e := element{name: strings.ToLower(strings.TrimSpace(name)), q: 1, params: map[string]string{}}
		for p := range strings.SplitSeq(rest, ";") {
			k, v, _ := strings.Cut(p, "=")
			e.params[strings.ToLower(strings.TrimSpace(k))] = strings.Trim(strings.TrimSpace(v), `"`)
		}
		if q, ok := e.params["q"]; ok {
			var err error
			if e.q, err = strconv.ParseFloat(q, 64); err != nil || !(e.q >= 0 && e.q <= 1) {
				e.q = 0
			}
		}
		if e.name != "" {
			all = append(all, e)
		}
	}
	return all
}
