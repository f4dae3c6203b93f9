package proxy_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// TestH2Spec runs the conformance suite of HTTP/2 servers against the whole proxy,
// with a server of HTTP/1.1 behind it. The binary is named by LATEEN_TEST_H2SPEC or
// found in PATH.
func TestH2Spec(t *testing.T) {
	name := os.Getenv("LATEEN_TEST_H2SPEC")
	if name == "" {
		name = "h2spec"
	}
	tool, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("h2spec is not there, name it in LATEEN_TEST_H2SPEC or put it into PATH: %v", err)
	}
	s := codecSidecar(t, "HTTP2", application(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "0123456789abcdef") // enough for the tests of windows
	}))
	at := s.addr("plain")
	out, err := exec.Command(tool, "-h", at.Addr().String(), "-p", fmt.Sprint(at.Port()), "-o", "2", "-S").CombinedOutput()
	sum := regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`).FindSubmatch(out)
	if err != nil || sum == nil || string(sum[2]) != string(sum[1]) {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", sum[0])
}
