package validate

import (
	"math"
	"strconv"
	"strings"
)

func (c *checker) between(field string, v, low, high int64) {
	switch {
	case v < low && low == 0:
		c.fail(field, "%d is negative", v)
	case v < low || v > high:
		c.fail(field, "%d is not between %d and %d", v, low, high)
	}
}

func (c *checker) atLeast(field string, v, low int64) { c.between(field, v, low, math.MaxInt64) }

// maxUID: (uid_t)-1 means "no change" to the kernel (setresuid(2)) and is no user.
const maxUID = math.MaxUint32 - 1

// enum refuses a value without a name; names is the generated X_name map.
func (c *checker) enum(field string, v int32, names map[int32]string) {
	if _, ok := names[v]; !ok {
		c.fail(field, "unknown value %d", v)
	}
}

// cpuset is the kernel's list format (cpuset(7)): "0-3,7". Empty is not specified.
func (c *checker) cpuset(field, s string) {
	if s == "" {
		return
	}
	if len(s) > maxPath {
		c.fail(field, "longer than %d bytes", maxPath)
		return
	}
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		low, high, ranged := strings.Cut(part, "-")
		l, err := strconv.ParseUint(low, 10, 16)
		h := l
		if err == nil && ranged {
			h, err = strconv.ParseUint(high, 10, 16)
		}
		if err != nil || h < l {
			c.fail(field, "%q is no list of numbers and ranges", s)
			return
		}
	}
}

// pageSize is a hugetlb page size as its control file has it: "2MB", "1GB".
func (c *checker) pageSize(field, s string) {
	digits := strings.TrimRight(s, "KMGB")
	switch unit := strings.TrimPrefix(s, digits); unit {
	case "KB", "MB", "GB":
	default:
		c.fail(field, "%q is no size such as 2MB", s)
		return
	}
	if n, err := strconv.ParseUint(digits, 10, 32); err != nil || n == 0 {
		c.fail(field, "%q is no size such as 2MB", s)
	}
}
