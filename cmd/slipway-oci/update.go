package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// update takes runc's JSON (--resources FILE, "-" for stdin) or its flags; what is not given stays.
func update(ctx context.Context, a *app, f *flag.FlagSet, args []string) error {
	res := &specs.LinuxResources{CPU: &specs.LinuxCPU{}, Memory: &specs.LinuxMemory{}}
	file := f.String("resources", "", "`file` with the limits as JSON, - for stdin")
	f.StringVar(file, "r", "", "`file` with the limits as JSON, - for stdin")
	f.Func("memory", "memory limit in `bytes` (k, m, g), -1 for none", size(&res.Memory.Limit))
	f.Func("memory-reservation", "memory reservation in `bytes`", size(&res.Memory.Reservation))
	f.Func("memory-swap", "memory and swap in `bytes`, -1 for no limit", size(&res.Memory.Swap))
	f.Func("cpu-quota", "`microseconds` of CPU time a period", signed(&res.CPU.Quota))
	f.Func("cpu-period", "`microseconds` of a period", unsigned(&res.CPU.Period))
	f.Func("cpu-share", "relative `weight`", unsigned(&res.CPU.Shares))
	f.StringVar(&res.CPU.Cpus, "cpuset-cpus", "", "CPUs, as in 0-2,4")
	f.StringVar(&res.CPU.Mems, "cpuset-mems", "", "memory nodes")
	f.Func("pids-limit", "most `processes`, -1 for no limit", func(s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		res.Pids = &specs.LinuxPids{Limit: &n}
		return err
	})
	id, err := one(f, args)
	if err != nil {
		return err
	}
	if *file != "" {
		if res, err = readResources(*file); err != nil {
			return err
		}
	}
	r, err := a.open()
	if err != nil {
		return err
	}
	return r.Update(ctx, id, res)
}

func readResources(path string) (*specs.LinuxResources, error) {
	var in io.Reader = os.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	res := &specs.LinuxResources{}
	if err := json.NewDecoder(in).Decode(res); err != nil {
		return nil, fmt.Errorf("resources: %w", err)
	}
	return res, nil
}

func signed(to **int64) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		*to = &n
		return err
	}
}

func unsigned(to **uint64) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseUint(s, 10, 64)
		*to = &n
		return err
	}
}

// size reads bytes with an optional binary unit.
func size(to **int64) func(string) error {
	return func(s string) error {
		digits := strings.TrimRight(strings.ToLower(s), "bkmgt")
		shift, ok := map[string]uint{"": 0, "b": 0, "k": 10, "kb": 10, "m": 20, "mb": 20, "g": 30, "gb": 30, "t": 40, "tb": 40}[strings.ToLower(s[len(digits):])]
		n, err := strconv.ParseInt(digits, 10, 64)
		if err == nil && (!ok || n > 1<<62>>shift) {
			err = strconv.ErrRange
		}
		if n > 0 {
			n <<= shift
		}
		*to = &n
		return err
	}
}
