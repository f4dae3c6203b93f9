// Package load holds the generators that the field does not have: requests at a
// fixed rate whose latency counts from the time that they were due, connections
// that are held, bulk over TCP, and TLS handshakes. Each runs in a process of its
// own, on the load's cores: see Start.
package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Spec tells a generator's process what to do.
type Spec struct {
	Kind string // "open", "drain", "handshake"
	Addr netip.AddrPort
	// Connections are used; Idle more are held open (open).
	Connections, Idle int
	Rate              int // requests in a second (open)
	Length            time.Duration
	Request           string // one request as it goes over the wire (open, handshake)
	// TLS of the client (handshake): PEM, and whether sessions are resumed.
	Cert, Key, Roots, ServerID string
	ALPN                       []string
	Resume                     bool
}

// Result is what a generator saw.
type Result struct {
	Requests, Bytes     int64
	Elapsed             time.Duration
	P50, P90, P99, P999 time.Duration
	Max                 time.Duration
	Resumed             int64 // handshakes that resumed a session
	Error               string
}

// Main is the generator's process. The Spec is its argument; when its connections
// are open it says so with an empty line, begins when it gets one, and writes the
// Result; its connections stay open until its input ends.
func Main(ctx context.Context, text string, in io.Reader, out io.Writer) error {
	var s Spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	lines := bufio.NewReader(in)
	begin := func() error {
		if _, err := io.WriteString(out, "\n"); err != nil {
			return err
		}
		_, err := lines.ReadString('\n')
		return err
	}
	var r Result
	var err error
	switch s.Kind {
	case "open":
		r, err = open(s, begin)
	case "drain":
		r, err = drain(s, begin)
	case "handshake":
		r, err = handshakes(ctx, s, begin)
	default:
		err = fmt.Errorf("no generator %q", s.Kind)
	}
	if err != nil {
		r.Error = err.Error()
	}
	if err := json.NewEncoder(out).Encode(r); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, lines)
	return err
}

// Generator is a generator's process whose connections are open.
type Generator struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	errs  bytes.Buffer
	early *Result // it failed before it could begin
}

// Start starts a generator in a process of the program self on the given cores
// and waits until its connections are open.
func Start(ctx context.Context, self, cores string, s Spec) (*Generator, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	g := &Generator{cmd: exec.CommandContext(ctx, "taskset", "-c", cores, self, "load", string(text))}
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	g.cmd.Stderr = &g.errs
	g.cmd.Env = append(os.Environ(), "GOGC=400")
	if g.in, err = g.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	g.out = bufio.NewReader(out)
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := g.out.ReadBytes('\n')
	if err == nil && len(line) > 1 {
		g.early = &Result{}
		err = json.Unmarshal(line, g.early)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load generator: %w", err), g.Close())
	}
	return g, nil
}

// Run begins, and returns when the generator is done; its connections stay open.
func (g *Generator) Run() (Result, error) {
	if g.early != nil {
		return *g.early, errors.New(g.early.Error)
	}
	var r Result
	if _, err := io.WriteString(g.in, "\n"); err != nil {
		return r, err
	}
	line, err := g.out.ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("load generator: %w: %s", err, g.errs.String())
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("load generator: %w", err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// Close ends the process and with it its connections.
func (g *Generator) Close() error {
	err := g.in.Close()
	if e := g.cmd.Wait(); e != nil {
		err = fmt.Errorf("load generator: %w: %s", e, g.errs.String())
	}
	return err
}
