package seccomp

import (
	"crypto/sha256"
	"slices"
	"strconv"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Cache keeps the programs of the profiles used last: a node has few distinct ones, and
// compiling takes a hundred times longer than finding. Methods may be called from
// several goroutines; of two that want one profile at once the second waits. A nil
// Cache compiles every time.
type Cache struct {
	mu      sync.Mutex
	max     int
	entries []cached // most recently used first
	buf     []byte   // for keys
}

type cached struct {
	key   [sha256.Size]byte
	prog  []byte
	flags uint32
	err   error
}

// NewCache makes a cache of at most max programs (each up to 32 KiB, typically 3).
func NewCache(max int) *Cache { return &Cache{max: max} }

// Compile is the package's Compile. The program is shared: it must not be changed.
func (c *Cache) Compile(s *specs.LinuxSeccomp, arch string) (prog []byte, flags uint32, err error) {
	if c == nil || s == nil {
		return Compile(s, arch)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = appendKey(c.buf[:0], s, arch)
	key := sha256.Sum256(c.buf)
	i := slices.IndexFunc(c.entries, func(e cached) bool { return e.key == key })
	if i < 0 {
		e := cached{key: key}
		e.prog, e.flags, e.err = Compile(s, arch)
		if len(c.entries) >= c.max {
			c.entries = c.entries[:max(c.max-1, 0)]
		}
		c.entries = append(c.entries, e)
		i = len(c.entries) - 1
	}
	e := c.entries[i]
	copy(c.entries[1:i+1], c.entries[:i])
	c.entries[0] = e
	return e.prog, e.flags, e.err
}

// Len is the number of programs held.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

// appendKey writes everything of a profile that Compile looks at, unambiguously.
func appendKey(b []byte, s *specs.LinuxSeccomp, arch string) []byte {
	str := func(v string) {
		b = strconv.AppendInt(b, int64(len(v)), 10)
		b = append(append(b, ':'), v...)
	}
	num := func(v uint64) { b = append(strconv.AppendUint(b, v, 16), ',') }
	ptr := func(p *uint) {
		if p == nil {
			b = append(b, '-')
		} else {
			num(uint64(*p))
		}
	}
	str(arch)
	str(string(s.DefaultAction))
	ptr(s.DefaultErrnoRet)
	num(uint64(len(s.Architectures)))
	for _, a := range s.Architectures {
		str(string(a))
	}
	if s.Flags == nil {
		b = append(b, '-')
	} else {
		num(uint64(len(s.Flags)))
	}
	for _, f := range s.Flags {
		str(string(f))
	}
	str(s.ListenerPath)
	str(s.ListenerMetadata)
	for i := range s.Syscalls {
		c := &s.Syscalls[i]
		num(uint64(len(c.Names)))
		for _, n := range c.Names {
			str(n)
		}
		str(string(c.Action))
		ptr(c.ErrnoRet)
		num(uint64(len(c.Args)))
		for _, a := range c.Args {
			num(uint64(a.Index))
			num(a.Value)
			num(a.ValueTwo)
			str(string(a.Op))
		}
	}
	return b
}
