package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// events is what go test -json says of four packages: good, bad, broken (does not build), without tests.
const events = `{"Action":"start","Package":"m/good"}
{"Action":"run","Package":"m/good","Test":"TestA"}
{"Action":"output","Package":"m/good","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"m/good","Test":"TestA","Elapsed":0.01}
{"Action":"output","Package":"m/good","Test":"TestB","Output":"    a_test.go:9: first\n"}
{"Action":"output","Package":"m/good","Test":"TestB","Output":"    a_test.go:10: needs root\n"}
{"Action":"output","Package":"m/good","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"m/good","Test":"TestB"}
{"Action":"output","Package":"m/good","Output":"PASS\n"}
{"Action":"output","Package":"m/good","Output":"ok  \tm/good\t0.1s\n"}
{"Action":"pass","Package":"m/good"}
{"Action":"output","Package":"m/bad","Test":"TestC/x","Output":"    c_test.go:1: want 1\n"}
{"Action":"fail","Package":"m/bad","Test":"TestC/x"}
{"Action":"fail","Package":"m/bad","Test":"TestC"}
{"Action":"output","Package":"m/bad","Output":"FAIL\n"}
{"Action":"output","Package":"m/bad","Output":"FAIL\tm/bad\t0.2s\n"}
{"Action":"fail","Package":"m/bad"}
{"ImportPath":"m/broken","Action":"build-output","Output":"broken.go:1: no\n"}
{"Action":"output","Package":"m/broken","Output":"FAIL\tm/broken [build failed]\n"}
{"Action":"fail","Package":"m/broken","FailedBuild":"m/broken"}
{"Action":"output","Package":"m/none","Output":"?   \tm/none\t[no test files]\n"}
{"Action":"skip","Package":"m/none"}
not an event
`

func TestSummary(t *testing.T) {
	var out strings.Builder
	s := newSummary(&out)
	if err := s.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	s.print()
	want := `ok  	m/good	0.1s
    c_test.go:1: want 1
FAIL
FAIL	m/bad	0.2s
broken.go:1: no
FAIL	m/broken [build failed]
?   	m/none	[no test files]
not an event
skipped: m/good TestB: needs root
1 passed, 3 failed, 1 skipped
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
}
