package behave

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// patience is how long an answer may take where a script sets no limit.
const patience = 20 * time.Second

// request is one request of a script.
type request struct {
	method, scheme, host string
	port                 uint16
	path                 string
	via                  netip.AddrPort // where to connect; looked up where not valid
	proto                string         // "http/1.1", "http/1.0", "h2"
	headers              [][2]string
	body                 string
	chunked              bool
	on                   string // the name of a connection that is kept
	repeat, parallel     int
	within               time.Duration // try again until it answers as expected
	tls                  *tls.Config
	grpc                 bool
}

// result is what came of one.
type result struct {
	agent   string
	status  int
	header  http.Header
	body    []byte
	trailer http.Header
	interim []int // statuses of 1xx responses
	took    time.Duration
	err     error
	reused  bool
}

// from is the workload that answered; "" where the proxy did.
func (x *result) from() string { return x.header.Get("x-from") }

func (x *result) String() string {
	if x.err != nil {
		return fmt.Sprintf("no answer after %v: %v", x.took.Round(time.Millisecond), x.err)
	}
	body := string(x.body)
	if len(body) > 600 {
		body = body[:600] + "..."
	}
	return fmt.Sprintf("%d from %q after %v\n%s%s", x.status, x.from(), x.took.Round(time.Millisecond), headerText(x.header), body)
}

func headerText(h http.Header) string {
	var b bytes.Buffer
	_ = h.Write(&b)
	return strings.ReplaceAll(b.String(), "\r", "")
}

// request runs a request with its expectations.
func (r *run) request(s *statement) {
	q, want, err := r.parseRequest(s)
	if err != nil {
		r.fail(s, "%v", err)
	}
	r.exchange(s, q, want)
}

func (r *run) exchange(s *statement, q *request, want []line) {
	deadline := time.Now().Add(q.within)
	for {
		r.mark = r.bed.world.mark()
		results, err := r.send(q)
		if err != nil {
			r.fail(s, "%v", err)
		}
		wrong := r.judge(s, want, results)
		if len(wrong) == 0 {
			return
		}
		if time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		var b strings.Builder
		for _, w := range wrong {
			fmt.Fprintln(&b, w)
		}
		fmt.Fprintln(&b, "the answer:", results[0])
		for i, rec := range r.bed.world.since(r.mark) {
			if i == 10 {
				fmt.Fprintln(&b, "...")
				break
			}
			fmt.Fprintf(&b, "%s saw %s %s of %s %v\n", rec.Workload, rec.Method, rec.Path, rec.Host, rec.Headers)
		}
		fmt.Fprint(&b, "access log: ", strings.TrimSpace(r.logLine(results[0].agent, 0)))
		r.fail(s, "%s", b.String())
	}
}

// parseRequest reads a statement; what is no option is an expectation.
func (r *run) parseRequest(s *statement) (*request, []line, error) {
	q := &request{method: s.verb, scheme: "http", proto: "http/1.1", repeat: 1, parallel: 1}
	if err := q.target(s.args); err != nil {
		return nil, nil, err
	}
	var want []line
	for _, l := range r.mine(s) {
		used, err := r.option(q, l)
		if err != nil {
			return nil, nil, fmt.Errorf("line %d: %s %s: %w", l.line, l.verb, l.args, err)
		}
		if !used {
			want = append(want, l)
		}
	}
	if !q.via.IsValid() {
		at, err := r.destination(q.host, q.port)
		if err != nil {
			return nil, nil, err
		}
		q.via = at
	}
	return q, want, nil
}

// destination is where a client connects: to a name's address, or, where the proxy
// under test is called, to its pod.
func (r *run) destination(host string, port uint16) (netip.AddrPort, error) {
	if r.c.role != roleSidecar {
		return netip.AddrPortFrom(r.cell.addr, r.mapped(port)), nil
	}
	addr, err := r.bed.lookup(host, r.c.node.namespace)
	return netip.AddrPortFrom(addr, port), err
}

// mapped is the gateway's own port for one of its Service.
func (r *run) mapped(port uint16) uint16 {
	if own, ok := map[uint16]uint16{80: 8080, 443: 8443}[port]; ok && r.c.role == roleGateway {
		return own
	}
	return port
}

// target reads [SCHEME://]HOST[:PORT]/PATH.
func (q *request) target(text string) error {
	if scheme, rest, ok := strings.Cut(text, "://"); ok && !strings.ContainsAny(scheme, "/?") {
		q.scheme, text = scheme, rest
	}
	i := strings.IndexAny(text, "/?*")
	if i < 0 {
		i = len(text)
		text += "/"
	}
	q.host, q.path = text[:i], text[i:]
	q.port = map[string]uint16{"http": 80, "https": 443}[q.scheme]
	if host, port, err := net.SplitHostPort(q.host); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return err
		}
		q.port = uint16(n)
		q.headers = append(q.headers, [2]string{"host", q.host})
		q.host = host
	} else {
		q.headers = append(q.headers, [2]string{"host", q.host})
	}
	if q.scheme == "https" {
		q.tls = &tls.Config{InsecureSkipVerify: true, ServerName: q.host}
	}
	return nil
}

// option applies a line that says how to ask.
func (r *run) option(q *request, l line) (used bool, err error) {
	switch l.verb {
	case ">":
		name, value, ok := strings.Cut(l.args, ":")
		if !ok {
			return true, errors.New("want > NAME: VALUE")
		}
		q.set(strings.TrimSpace(name), strings.TrimPrefix(value, " "))
	case "via":
		err = r.viaOf(q, l.args)
	case "proto":
		q.proto = l.args
	case "send":
		q.body = text(l.args)
		if n, ok := strings.CutPrefix(l.args, "size "); ok {
			var size int
			size, err = strconv.Atoi(n)
			q.body = strings.Repeat("x", size)
		}
	case "chunked":
		q.chunked = true
	case "on":
		q.on = l.args
	case "repeat":
		q.repeat, err = strconv.Atoi(l.args)
	case "parallel":
		q.parallel, err = strconv.Atoi(l.args)
		q.repeat = max(q.repeat, q.parallel)
	case "within":
		q.within, err = time.ParseDuration(l.args)
	case "sni":
		q.tls = &tls.Config{InsecureSkipVerify: true, ServerName: l.args}
	case "as":
		q.tls, err = r.meshClient(l.args)
	default:
		return false, nil
	}
	return true, err
}

// viaOf reads ADDRESS[:PORT], NAME[:PORT] or the pod of a workload.
func (r *run) viaOf(q *request, text string) error {
	host, port := text, q.port
	if h, p, err := net.SplitHostPort(text); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return err
		}
		host, port = h, uint16(n)
	}
	for i := range r.c.workloads {
		if w := &r.c.workloads[i]; w.name == host {
			q.via = netip.AddrPortFrom(w.addr, port)
			return nil
		}
	}
	addr, err := r.bed.lookup(host, r.c.node.namespace)
	q.via = netip.AddrPortFrom(addr, port)
	return err
}

// meshClient is mutual TLS as a sidecar of the mesh speaks it: NAMESPACE/ACCOUNT.
func (r *run) meshClient(who string) (*tls.Config, error) {
	namespace, account, ok := strings.Cut(who, "/")
	if !ok {
		return nil, errors.New("want as NAMESPACE/ACCOUNT")
	}
	cert, err := r.bed.certificate(namespace, account)
	if err != nil {
		return nil, err
	}
	return &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*cert}, NextProtos: []string{"istio-http/1.1", "istio", "http/1.1"}, ServerName: "outbound_.8080_._.server.default.svc.cluster.local"}, nil
}

// set adds a header; host replaces the one of the target.
func (q *request) set(name, value string) {
	if strings.EqualFold(name, "host") || name == ":authority" {
		q.headers[0] = [2]string{"host", value}
		return
	}
	q.headers = append(q.headers, [2]string{name, value})
}

// has reports whether a header is set.
func (q *request) has(name string) bool {
	for _, h := range q.headers {
		if strings.EqualFold(h[0], name) {
			return true
		}
	}
	return false
}

// send sends a request as often as it asks for.
func (r *run) send(q *request) ([]*result, error) {
	results := make([]*result, q.repeat)
	if q.parallel == 1 {
		for i := range results {
			results[i] = r.once(q, r.nextAgent())
		}
		return results, nil
	}
	if q.on != "" {
		return nil, errors.New("parallel requests cannot share a connection")
	}
	var wg sync.WaitGroup
	next := make(chan int)
	agents := make([]string, len(results))
	for i := range agents {
		agents[i] = r.nextAgent()
	}
	for range q.parallel {
		wg.Go(func() {
			for i := range next {
				results[i] = r.once(q, agents[i])
			}
		})
	}
	for i := range results {
		next <- i
	}
	close(next)
	wg.Wait()
	return results, nil
}

// nextAgent is a user agent that no other request has: by it a request is found in
// logs and in what servers saw.
func (r *run) nextAgent() string {
	r.agents++
	return fmt.Sprintf("behave/%s/%d", r.c.name, r.agents)
}

// once sends one request.
func (r *run) once(q *request, agent string) *result {
	start := time.Now()
	x := &result{agent: agent, header: http.Header{}}
	if q.proto == "h2" {
		x.err = r.onceH2(q, x)
	} else {
		x.err = r.onceH1(q, x)
	}
	x.took = time.Since(start)
	return x
}

// h1Conn is a connection of HTTP/1.
type h1Conn struct {
	net.Conn
	r *bufio.Reader
}

// dial connects as the client of the case's role does.
func (r *run) dial(at netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ns := r.bed.world.ns
	if r.c.role == roleSidecar {
		ns = r.cell.ns
	}
	return ns.DialContext(ctx, "tcp", at.String())
}

// open dials, with TLS where the request wants it.
func (r *run) open(q *request, protos ...string) (net.Conn, error) {
	c, err := r.dial(q.via)
	if err != nil || q.tls == nil {
		return c, err
	}
	conf := q.tls.Clone()
	if len(conf.NextProtos) == 0 {
		conf.NextProtos = protos
	}
	t := tls.Client(c, conf)
	_ = c.SetDeadline(time.Now().Add(patience))
	if err := t.Handshake(); err != nil {
		c.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return t, nil
}

func (r *run) onceH1(q *request, x *result) error {
	c := r.conns[q.on]
	x.reused = q.on != "" && c != nil
	if !x.reused {
		raw, err := r.open(q, "http/1.1")
		if err != nil {
			return err
		}
		c = &h1Conn{raw, bufio.NewReader(raw)}
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err := io.WriteString(c, q.head(x.agent))
	if err == nil {
		err = c.answer(q.method, x)
	}
	if q.on != "" && err == nil && !strings.EqualFold(x.header.Get("connection"), "close") {
		r.conns[q.on] = c
		return nil
	}
	delete(r.conns, q.on)
	c.Close()
	return err
}

// head is the request's bytes.
func (q *request) head(agent string) string {
	var b strings.Builder
	version := strings.ToUpper(q.proto)
	fmt.Fprintf(&b, "%s %s %s\r\n", q.method, q.path, version)
	for _, h := range q.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	if !q.has("user-agent") {
		fmt.Fprintf(&b, "user-agent: %s\r\n", agent)
	}
	switch {
	case q.chunked:
		fmt.Fprintf(&b, "transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(q.body), q.body)
	case q.body != "" || q.method == "POST" || q.method == "PUT" || q.method == "PATCH":
		fmt.Fprintf(&b, "content-length: %d\r\n\r\n%s", len(q.body), q.body)
	default:
		b.WriteString("\r\n")
	}
	return b.String()
}

// answer reads a response.
func (c *h1Conn) answer(method string, x *result) error {
	for {
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			return err
		}
		if resp.StatusCode >= 100 && resp.StatusCode < 200 && resp.StatusCode != 101 {
			x.interim = append(x.interim, resp.StatusCode)
			continue
		}
		x.status, x.header = resp.StatusCode, resp.Header
		if len(resp.TransferEncoding) > 0 {
			x.header["Transfer-Encoding"] = resp.TransferEncoding
		}
		if resp.Close && x.header.Get("connection") == "" {
			x.header.Set("connection", "close")
		}
		if resp.StatusCode == 101 {
			return nil
		}
		x.body, err = io.ReadAll(resp.Body)
		x.trailer = resp.Trailer
		if err != nil {
			return fmt.Errorf("status %d, %d bytes of the body, then: %w", x.status, len(x.body), err)
		}
		return nil
	}
}

// onceH2 sends a request over HTTP/2, on a connection of its own.
func (r *run) onceH2(q *request, x *result) error {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p, DisableCompression: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return r.open(q, "h2") }}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, q.method, "http://"+q.headers[0][1]+q.path, strings.NewReader(q.body))
	if err != nil {
		return err
	}
	for _, h := range q.headers[1:] {
		req.Header.Add(h[0], h[1])
	}
	if !q.has("user-agent") {
		req.Header.Set("user-agent", x.agent)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	x.status, x.header = resp.StatusCode, resp.Header
	x.body, err = io.ReadAll(resp.Body)
	x.trailer = resp.Trailer
	return err
}

// grpc calls a method: grpc HOST:PORT/PACKAGE.SERVICE/METHOD.
func (r *run) grpc(s *statement) {
	call := *s
	call.verb = "POST"
	q, want, err := r.parseRequest(&call)
	if err != nil {
		r.fail(s, "%v", err)
	}
	q.proto, q.grpc = "h2", true
	q.set("content-type", "application/grpc")
	q.set("te", "trailers")
	q.body = string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(q.body)))) + q.body
	r.exchange(s, q, want)
}
