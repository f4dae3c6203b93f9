package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// answer is a line of `lateen sample grpc-client`: a message, or how a call ended.
type answer struct {
	Reply struct {
		Message, Version, Instance, Peer string
		N                                int
		Metadata                         map[string]string
	}
	Code, Error     string
	Header, Trailer map[string]string
}

func answers(out string) (list []answer, err error) {
	for line := range strings.Lines(out) {
		var a answer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			return list, fmt.Errorf("%q: %w", line, err)
		}
		list = append(list, a)
	}
	return list, nil
}

// grpc runs the sample client inside the workload curl.
func (m *mesh) grpc(args ...string) []answer {
	m.t.Helper()
	list, err := m.tryGRPC(args...)
	if err != nil {
		m.t.Fatal(err)
	}
	return list
}

func (m *mesh) tryGRPC(args ...string) ([]answer, error) {
	out, errs, err := m.exec("curl", append([]string{binary(m.t), "sample", "grpc-client"}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("grpc-client %v: %w\n%s%s", args, err, out, errs)
	}
	return answers(out)
}

// stream is a call of both directions under way.
type stream struct {
	out  bytes.Buffer
	errs bytes.Buffer
	wait func() error
}

// openStream starts a stream of n messages, a tenth of a second apart.
func (m *mesh) openStream(n int) *stream {
	m.t.Helper()
	s := &stream{}
	cmd := m.command("exec", "curl", "--", binary(m.t), "sample", "grpc-client", "grpc-echo:7070", "-method", "bidi", "-n", fmt.Sprint(n), "-every", "100ms", "-timeout", "1m")
	cmd.Stdout, cmd.Stderr = &s.out, &s.errs
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	s.wait = cmd.Wait
	return s
}

// whole reports whether all messages of the stream came back, from one server.
func (s *stream) whole(n int) error {
	if err := s.wait(); err != nil {
		return fmt.Errorf("%w: %s", err, &s.errs)
	}
	list, err := answers(s.out.String())
	if err != nil {
		return err
	}
	if len(list) != n+1 || list[n].Code != "OK" {
		return fmt.Errorf("%d lines for %d messages, the last: %+v", len(list), n, list[max(0, len(list)-1)])
	}
	for i := range n {
		if list[i].Reply.Instance != list[0].Reply.Instance || list[i].Reply.N != i+1 {
			return fmt.Errorf("message %d: %+v", i, list[i])
		}
	}
	return nil
}

// grpcMesh starts a mesh with the samples grpc-echo, httpbin and curl, and waits
// until a call gets through to both versions.
func grpcMesh(t *testing.T, args ...string) *mesh {
	t.Helper()
	m := newMesh(t, false)
	var all []string
	for _, name := range []string{"grpc-echo/grpc-echo.yaml", "httpbin/httpbin.yaml", "curl/curl.yaml"} {
		text, err := os.ReadFile("../../samples/yaml/" + name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	file := filepath.Join(m.home, "app.yaml")
	if err := os.WriteFile(file, []byte(strings.Join(all, "\n---\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	m.up(append([]string{"-f", file}, args...)...)
	eventually(t, 20*time.Second, func() error {
		list, err := m.tryGRPC("grpc-echo:7070", "-n", "8")
		seen := map[string]bool{}
		for _, a := range list {
			seen[a.Code+a.Reply.Version] = true
		}
		return expect(err == nil && len(seen) == 2 && seen["OKv1"] && seen["OKv2"], "%v %v", err, seen)
	})
	return m
}

// ingressHost is where the gateway takes plain HTTP, for clients that want no URL.
func (m *mesh) ingressHost() string {
	m.t.Helper()
	u, err := url.Parse(m.Info.Ingress.HTTP)
	if err != nil {
		m.t.Fatal(err)
	}
	return u.Host
}
