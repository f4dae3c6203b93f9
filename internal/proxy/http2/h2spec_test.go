package http2_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/socket"
)

// TestH2Spec runs the conformance suite h2spec against the server side. The binary
// (module github.com/summerwind/h2spec/cmd/h2spec) is named by LATEEN_TEST_H2SPEC or
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
	port := listen(t, http2.ServerOptions{IdleTimeout: time.Minute, RequestTimeout: time.Minute, StreamIdleTimeout: time.Minute}, func(s *stream.Stream) (*stream.Response, error) {
		if s.Request.Body != nil {
			if _, err := readAll(s.Request.Body); err != nil {
				return nil, err
			}
		}
		r := &stream.Response{Status: 200, Body: stream.NewBody(make([]byte, 16)), Length: 16}
		return r, nil
	})
	cmd := exec.Command(tool, "-h", "127.0.0.1", "-p", fmt.Sprint(port), "-o", "2", "-S")
	out, err := cmd.CombinedOutput()
	sum := regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`).FindSubmatch(out)
	if err != nil || sum == nil || string(sum[2]) != string(sum[1]) {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", sum[0])
}

// listen serves connections on loopback until the test ends.
func listen(t testing.TB, o http2.ServerOptions, h stream.HandlerFunc) (port uint16) {
	t.Helper()
	l := socket.Listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func(t rawio.Transport) { http2.NewServerConn(t, &stream.Conn{}, o).Serve(h) }(conn)
		}
	}()
	return l.Addr().Port()
}

func readAll(b stream.Body) ([]byte, error) {
	var all []byte
	for {
		p, err := b.Next()
		if err != nil {
			if err.Error() == "EOF" {
				err = nil
			}
			return all, err
		}
		all = append(all, p...)
	}
}
