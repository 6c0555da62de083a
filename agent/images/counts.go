package images

import "sync/atomic"

// Pulls is what this process has pulled so far.
type Pulls struct {
	Done, Failed uint64 // pulls that have ended; callers that joined one are not counted
	Bytes        uint64 // of compressed layers that were unpacked
}

type pullCounts struct{ done, failed, bytes atomic.Uint64 }

func (c *pullCounts) ended(err error) {
	if err != nil {
		c.failed.Add(1)
		return
	}
	c.done.Add(1)
}

// Pulls reads the counts.
func (l *Local) Pulls() Pulls {
	return Pulls{Done: l.counts.done.Load(), Failed: l.counts.failed.Load(), Bytes: l.counts.bytes.Load()}
}
