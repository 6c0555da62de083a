package validate

import (
	"path"
	"strings"
	"unicode/utf8"
)

// Bounds in bytes. Names are Kubernetes' DNS subdomains (253); the rest are the kernel's
// (PATH_MAX, HOST_NAME_MAX), or far above any honest use.
const (
	maxName       = 253
	maxID         = 256
	maxPath       = 4095
	maxHostname   = 64
	maxReference  = 1024
	maxLabelKey   = 512
	maxLabelValue = 4096
	maxAnnotated  = 1 << 20 // all of an object's annotations together
	maxArg        = 1 << 20
)

// text refuses control bytes (NUL, newline, escape …) and what is longer than limit.
// Such strings reach paths, resolv.conf, logs and cgroup files line by line.
func (c *checker) text(field, s string, limit int) {
	if len(s) > limit {
		c.fail(field, "longer than %d bytes", limit)
		return
	}
	if i := strings.IndexFunc(s, isControl); i >= 0 {
		c.fail(field, "control character at byte %d", i)
	}
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f || r == utf8.RuneError }

// name is a required name that may become part of a file name.
func (c *checker) name(field, s string, limit int) {
	switch {
	case s == "":
		c.fail(field, "empty")
	case s == "." || s == "..":
		c.fail(field, "%q is no name", s)
	case strings.Contains(s, "/"):
		c.fail(field, "contains a slash")
	default:
		c.text(field, s, limit)
	}
}

// id is the id of a pod or container, or a prefix of one.
func (c *checker) id(field, s string) {
	c.name(field, s, maxID)
	if i := strings.IndexFunc(s, func(r rune) bool { return !isWord(r) && r != '-' && r != '.' }); i >= 0 {
		c.fail(field, "unexpected character at byte %d", i)
	}
}

func isWord(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_'
}

// absolute is a required absolute path without ".." elements.
func (c *checker) absolute(field, s string) {
	switch {
	case s == "":
		c.fail(field, "empty")
	case !path.IsAbs(s):
		c.fail(field, "not an absolute path")
	default:
		c.path(field, s)
	}
}

// relative is an optional path that stays below what it is joined to.
func (c *checker) relative(field, s string) {
	if path.IsAbs(s) {
		c.fail(field, "must be relative")
		return
	}
	c.path(field, s)
}

func (c *checker) path(field, s string) {
	c.text(field, s, maxPath)
	for e := range strings.SplitSeq(s, "/") {
		if e == ".." {
			c.fail(field, `contains ".."`)
		}
		if len(e) > 255 {
			c.fail(field, "has an element longer than 255 bytes")
		}
	}
}

// noNUL is for text that goes to execve as it is: newlines belong there.
func (c *checker) noNUL(field, s string) {
	switch {
	case len(s) > maxArg:
		c.fail(field, "longer than %d bytes", maxArg)
	case strings.IndexByte(s, 0) >= 0:
		c.fail(field, "contains NUL")
	}
}

// labels go into selectors; keys and values are short and plain.
func (c *checker) labels(field string, m map[string]string) {
	for k, v := range m {
		if k == "" {
			c.fail(field, "empty key")
		}
		c.text(field, k, maxLabelKey)
		if len(v) > maxLabelValue || strings.IndexByte(v, 0) >= 0 {
			c.fail(key(field, k), "value longer than %d bytes, or with NUL", maxLabelValue)
		}
	}
}

// annotations may hold whole documents, newlines and all; they are bounded together.
func (c *checker) annotations(field string, m map[string]string) {
	total := 0
	for k, v := range m {
		if k == "" {
			c.fail(field, "empty key")
		}
		c.text(field, k, maxLabelKey)
		if strings.IndexByte(v, 0) >= 0 {
			c.fail(key(field, k), "contains NUL")
		}
		total += len(k) + len(v)
	}
	if total > maxAnnotated {
		c.fail(field, "longer than %d bytes together", maxAnnotated)
	}
}
