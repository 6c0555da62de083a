package ocispec

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Real-time signals as C libraries number them: two of the kernel's belong to the library.
const rtMin, rtMax = 34, 64

// signalAliases are CRI's second names of one signal (signal(7)).
var signalAliases = map[string]string{"SIGCLD": "SIGCHLD", "SIGPOLL": "SIGIO", "SIGIOT": "SIGABRT"}

// stopSignal is the request's, else the image's, else SIGTERM. An image's invalid value is
// no error: the field's runtimes run such images.
func stopSignal(s runtimeapi.Signal, image string) string {
	if s != runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT {
		name := strings.TrimPrefix(s.String(), "SIGNAL_")
		name = strings.Replace(strings.Replace(name, "PLUS", "+", 1), "MINUS", "-", 1)
		if sig, err := Signal(name); err == nil {
			return signalName(sig)
		}
	}
	if sig, err := Signal(image); err == nil {
		return signalName(sig)
	}
	return "SIGTERM"
}

// Signal turns "SIGTERM", "term", "SIGRTMIN+3", "SIGRTMAX-1" or "15" into a number;
// anything else is lifecycle.ErrInvalid.
func Signal(s string) (syscall.Signal, error) {
	bad := fmt.Errorf("signal %q: %w", s, lifecycle.ErrInvalid)
	if isDigits(s) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > rtMax {
			return 0, bad
		}
		return syscall.Signal(n), nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if canonical, ok := signalAliases[name]; ok {
		name = canonical
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	for _, rt := range []struct {
		prefix string
		base   int
		sign   string
		step   int
	}{{"SIGRTMIN", rtMin, "+", 1}, {"SIGRTMAX", rtMax, "-", -1}} {
		rest, ok := strings.CutPrefix(name, rt.prefix)
		if !ok {
			continue
		}
		if rest == "" {
			return syscall.Signal(rt.base), nil
		}
		offset, hasSign := strings.CutPrefix(rest, rt.sign)
		n, err := strconv.Atoi(offset)
		if !hasSign || !isDigits(offset) || err != nil || n > rtMax-rtMin {
			return 0, bad
		}
		return syscall.Signal(rt.base + rt.step*n), nil
	}
	return 0, bad
}

func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	switch {
	case s == rtMax:
		return "SIGRTMAX"
	case s == rtMin:
		return "SIGRTMIN"
	case s > rtMin && s <= rtMin+15:
		return fmt.Sprintf("SIGRTMIN+%d", s-rtMin)
	case s > rtMin:
		return fmt.Sprintf("SIGRTMAX-%d", rtMax-s)
	}
	return strconv.Itoa(int(s))
}
