package streaming

import (
	"context"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
	"k8s.io/klog/v2"
)

// The library writes to klog, which is one for the process and by default goes to stderr,
// with an error line for each exec of a command that cannot run. That is the client's to
// know, and it has been told; here it is debug.

var redirectOnce sync.Once

func redirectLibraryLog(to *logrus.Logger) {
	redirectOnce.Do(func() { klog.SetSlogLogger(slog.New(libraryLog{to: to})) })
}

type libraryLog struct {
	to     *logrus.Logger
	fields logrus.Fields
}

func (l libraryLog) Enabled(context.Context, slog.Level) bool {
	return l.to.IsLevelEnabled(logrus.DebugLevel)
}

func (l libraryLog) Handle(_ context.Context, r slog.Record) error {
	f := logrus.Fields{}
	for k, v := range l.fields {
		f[k] = v
	}
	r.Attrs(func(a slog.Attr) bool {
		f[a.Key] = a.Value.String()
		return true
	})
	l.to.WithFields(f).Debug("streaming: " + r.Message)
	return nil
}

func (l libraryLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	f := logrus.Fields{}
	for k, v := range l.fields {
		f[k] = v
	}
	for _, a := range attrs {
		f[a.Key] = a.Value.String()
	}
	return libraryLog{l.to, f}
}

func (l libraryLog) WithGroup(string) slog.Handler { return l }

// httpLog takes net/http's complaints about connections; they never hold a path, and with
// it a token, but a stack of a panicking handler, which belongs in the log.
func httpLog(to *logrus.Logger) *log.Logger {
	return log.New(httpWriter{to}, "", 0)
}

type httpWriter struct{ to *logrus.Logger }

var _ io.Writer = httpWriter{}

func (w httpWriter) Write(b []byte) (int, error) {
	line := strings.TrimSpace(string(b))
	if strings.Contains(line, "panic serving") {
		w.to.Error("streaming: " + line)
	} else {
		w.to.Debug("streaming: " + line)
	}
	return len(b), nil
}
