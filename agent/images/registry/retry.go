package registry

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// maxPause bounds what a Retry-After header can ask for.
const maxPause = 30 * time.Second

// retrier sends a request again, after a pause, that the registry answered with 429 or a
// server error. Each URL has so many tries in all, whoever asks.
type retrier struct {
	next     http.RoundTripper
	backoff  time.Duration
	attempts int
	token    func(host string) string

	mu    sync.Mutex
	tries map[string]int
}

// statusError is a registry's last word after all tries.
type statusError struct {
	code  int
	url   string
	tries int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answered %d %s, %d times", e.url, e.code, http.StatusText(e.code), e.tries)
}

func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	if t := r.token(req.URL.Host); t != "" && req.Header.Get("Authorization") == "" {
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", "Bearer "+t)
	}
	for {
		resp, err := r.next.RoundTrip(req)
		if err != nil || !transient(resp.StatusCode) {
			return resp, err
		}
		replay := req.Body == nil || req.GetBody != nil
		tries := r.count(req)
		if tries >= r.attempts || !replay {
			drop(resp)
			return nil, &statusError{resp.StatusCode, req.URL.Redacted(), tries}
		}
		wait := pause(resp, r.backoff, tries)
		drop(resp)
		if err := sleep(req.Context(), wait); err != nil {
			return nil, err
		}
		if req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			req = req.Clone(req.Context())
			req.Body = body
		}
	}
}

func (r *retrier) CloseIdleConnections() {
	if c, ok := r.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (r *retrier) count(req *http.Request) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := req.Method + " " + req.URL.String()
	r.tries[key]++
	return r.tries[key]
}

func transient(code int) bool {
	switch code {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// drop reads a little, so that the connection can be used again.
func drop(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	resp.Body.Close()
}

// pause is what the registry asks for, else an exponential with jitter.
func pause(resp *http.Response, first time.Duration, tries int) time.Duration {
	if s := resp.Header.Get("Retry-After"); s != "" {
		if n, err := strconv.Atoi(s); err == nil && n >= 0 {
			return min(time.Duration(n)*time.Second, maxPause)
		}
		if t, err := http.ParseTime(s); err == nil {
			return min(max(time.Until(t), 0), maxPause)
		}
	}
	return exponential(first, tries)
}

func exponential(first time.Duration, tries int) time.Duration {
	d := min(first<<min(tries-1, 16), maxPause)
	return d/2 + rand.N(d/2+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
