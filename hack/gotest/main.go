// Command gotest runs go test, prints what go test prints, and adds a count of the tests: one
// line "N passed, N failed, N skipped", and before it each skipped test with its reason.
//
//	go run ./hack/gotest [-counts FILE] [go test's arguments]
//
// It exits with 1 when go test fails. -counts writes the three numbers to FILE as well.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

func main() {
	counts := flag.String("counts", "", "write the three numbers to this file")
	flag.Parse()
	if err := run(*counts, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
}

func run(counts string, args []string) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s := newSummary(os.Stdout)
	readErr := s.read(out)
	err = errors.Join(readErr, cmd.Wait())
	s.print()
	if counts != "" {
		err = errors.Join(err, os.WriteFile(counts, fmt.Appendf(nil, "%d %d %d\n", s.passed, s.failed, len(s.skipped)), 0o644))
	}
	if err == nil && s.failed > 0 {
		err = fmt.Errorf("%d failed", s.failed)
	}
	return err
}

// event is a line of go test -json (go doc test2json).
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string // of a build-output
}

type summary struct {
	out            io.Writer
	passed, failed int
	skipped        []string
	output         map[string]*strings.Builder // of what has not ended, by package and test
	failing        map[string]bool             // packages with a test that failed
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, output: map[string]*strings.Builder{}, failing: map[string]bool{}}
}

// read takes go test's events to the end. What is no event is printed as it is.
func (s *summary) read(r io.Reader) error {
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				s.event(e)
			} else {
				_, _ = s.out.Write(line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *summary) event(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "output":
		if s.output[key] == nil {
			s.output[key] = &strings.Builder{}
		}
		s.output[key].WriteString(e.Output)
	case "pass", "fail", "skip":
		said := ""
		if o := s.output[key]; o != nil {
			said = o.String()
		}
		delete(s.output, key)
		if e.Test == "" {
			s.packageEnd(e, said)
			return
		}
		s.testEnd(e, said)
	}
}

func (s *summary) testEnd(e event, said string) {
	switch e.Action {
	case "pass":
		s.passed++
	case "fail":
		s.failed++
		s.failing[e.Package] = true
		fmt.Fprint(s.out, said)
	case "skip":
		s.skipped = append(s.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(said)))
	}
}

// packageEnd prints what go test without -v would: all of a package that failed, else its last line.
func (s *summary) packageEnd(e event, said string) {
	if e.Action == "fail" {
		if !s.failing[e.Package] {
			s.failed++ // it did not build, ended too early or ran out of time
		}
		fmt.Fprint(s.out, said)
		return
	}
	lines := strings.Split(strings.TrimRight(said, "\n"), "\n")
	fmt.Fprintln(s.out, lines[len(lines)-1])
}

var logged = regexp.MustCompile(`(?m)^\s+\S+\.go:\d+: (.*)$`)

// reason is the last thing that a test logged before it skipped itself.
func reason(said string) string {
	all := logged.FindAllStringSubmatch(said, -1)
	if len(all) == 0 {
		return "no reason given"
	}
	return all[len(all)-1][1]
}

func (s *summary) print() {
	for _, line := range s.skipped {
		fmt.Fprintln(s.out, "skipped:", line)
	}
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, len(s.skipped))
}
