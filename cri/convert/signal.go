package convert

import (
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// signalNumbers are Linux's signals on amd64 and arm64 (signal(7)) as CRI names them, for
// images that give STOPSIGNAL as a number. 32 and 33 belong to the C library.
var signalNumbers = [...]string{
	1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL",
	10: "USR1", 11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 16: "STKFLT", 17: "CHLD",
	18: "CONT", 19: "STOP", 20: "TSTP", 21: "TTIN", 22: "TTOU", 23: "URG", 24: "XCPU", 25: "XFSZ",
	26: "VTALRM", 27: "PROF", 28: "WINCH", 29: "IO", 30: "PWR", 31: "SYS",
}

const (
	sigRTMin = 34
	sigRTMax = 64
)

// StopSignal turns a signal's name ("SIGTERM", "term", "SIGRTMIN+3") or number ("15") into
// CRI's enum; what is no signal is SIGNAL_RUNTIME_DEFAULT.
func StopSignal(s string) runtimeapi.Signal {
	name := strings.ToUpper(strings.TrimSpace(s))
	if n, err := strconv.Atoi(name); err == nil {
		name = signalName(n)
	}
	name = strings.TrimPrefix(name, "SIG")
	name = strings.Replace(name, "RTMIN+", "RTMINPLUS", 1)
	name = strings.Replace(name, "RTMAX-", "RTMAXMINUS", 1)
	if v, ok := runtimeapi.Signal_value["SIGNAL_SIG"+name]; ok {
		return runtimeapi.Signal(v)
	}
	return runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT
}

func signalName(n int) string {
	switch {
	case n > 0 && n < len(signalNumbers):
		return signalNumbers[n]
	case n == sigRTMin:
		return "RTMIN"
	case n > sigRTMin && n <= sigRTMin+15:
		return "RTMIN+" + strconv.Itoa(n-sigRTMin)
	case n > sigRTMin+15 && n < sigRTMax:
		return "RTMAX-" + strconv.Itoa(sigRTMax-n)
	case n == sigRTMax:
		return "RTMAX"
	}
	return ""
}
