package bridge

import (
	"os"
	"strings"
)

// sysctl reads a value of the calling thread's network namespace, "" when there is none.
func sysctl(name string) string {
	data, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// setSysctl writes a value where it differs: /proc/sys may be read-only but right.
func setSysctl(name, value string) error {
	if sysctl(name) == value {
		return nil
	}
	return os.WriteFile("/proc/sys/"+name, []byte(value), 0)
}
