package nri

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/log"
	"github.com/sirupsen/logrus"
)

// logger is nri's process-wide logger; what it calls information is of interest when debugging only.
type logger struct{ to atomic.Pointer[logrus.Entry] }

var (
	theLogger  logger
	setLogOnce sync.Once
)

func logTo(e *logrus.Entry) {
	theLogger.to.Store(e)
	setLogOnce.Do(func() { log.Set(&theLogger) })
}

func (l *logger) Debugf(_ context.Context, f string, a ...any) { l.to.Load().Tracef("NRI: "+f, a...) }
func (l *logger) Infof(_ context.Context, f string, a ...any)  { l.to.Load().Debugf("NRI: "+f, a...) }
func (l *logger) Warnf(_ context.Context, f string, a ...any)  { l.to.Load().Warnf("NRI: "+f, a...) }

func (l *logger) Errorf(_ context.Context, f string, a ...any) {
	level := logrus.ErrorLevel
	if slices.Contains(a, any(adaptation.ErrWasmDisabled)) { // as it was built; a plugin that needs it is warned of
		level = logrus.DebugLevel
	}
	l.to.Load().Logf(level, "NRI: "+f, a...)
}
