package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/wire"
)

// tapFlags are the flags of tap.
type tapFlags struct {
	home                                        homeFlags
	namespace, method, path, status, to, output string
	headers                                     []string
	maxRPS                                      float64
	limit                                       int
}

func newTapCommand(env *Env) *cobra.Command {
	var f tapFlags
	cmd := &cobra.Command{
		Use:   "tap [deploy/NAME | svc/NAME | pod/NAME | ns/NAME]",
		Short: "Watch live requests as proxies see them",
		Long: `Watch requests while they happen, as the proxies of a workload, service, pod or
namespace see them, or all of the mesh. A request between two workloads is seen
twice, by the client's proxy and by the server's. The values of headers that carry
secrets (authorization, cookies, tokens) do not leave the proxies. While nobody
taps, proxies spend nothing on it.`,
		Example: `  lateen tap deploy/reviews-v2
  lateen tap svc/ratings --status 5xx --path /ratings -o json
  lateen tap -n default --header end-user=jason -o curl`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), env, args) },
	}
	f.home.register(env, cmd)
	fl := cmd.Flags()
	fl.StringVarP(&f.namespace, "namespace", "n", "", "namespace of the target; without a target, all proxies of it")
	fl.StringVarP(&f.method, "method", "X", "", "only requests with this method")
	fl.StringVar(&f.path, "path", "", "only requests whose path begins so")
	fl.StringVar(&f.status, "status", "", "only answers with this status: 503, 5xx, 400-499")
	fl.StringVar(&f.to, "to", "", "only requests to this service: a host, or its first part")
	fl.StringArrayVarP(&f.headers, "header", "H", nil, "only requests with this header: NAME or NAME=VALUE (repeatable)")
	fl.Float64Var(&f.maxRPS, "max-rps", 100, "at most so many requests per second from each proxy")
	fl.IntVar(&f.limit, "limit", 0, "end after so many requests")
	fl.StringVarP(&f.output, "output", "o", "", "output format: wide, json (a line each), har, curl")
	return cmd
}

func (f *tapFlags) query(args []string) url.Values {
	q := url.Values{"target": {"*"}}
	switch {
	case len(args) == 1:
		q.Set("target", args[0])
	case f.namespace != "":
		q.Set("target", "ns/"+f.namespace)
	}
	for name, v := range map[string]string{"namespace": f.namespace, "method": f.method, "path": f.path, "status": f.status, "to": f.to} {
		if v != "" {
			q.Set(name, v)
		}
	}
	q["header"] = f.headers
	q.Set("maxRps", strconv.FormatFloat(f.maxRPS, 'g', -1, 64))
	return q
}

func (f *tapFlags) run(ctx context.Context, env *Env, args []string) error {
	if err := oneOf(f.output, "", "wide", "json", "har", "curl"); err != nil {
		return err
	}
	h, err := f.home.open(ctx, env)
	if err != nil {
		return err
	}
	planes, err := h.Planes(ctx)
	if err != nil {
		return h.Explain(env, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, failed := make(chan *wire.TapEvent), make(chan error, len(planes))
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	for _, p := range planes {
		readers.Go(func() { failed <- follow(ctx, p, "/api/tap?"+f.query(args).Encode(), events) })
	}
	p := newTapPrinter(env, f.output)
	for n := 0; f.limit == 0 || n < f.limit; n++ {
		select {
		case e := <-events:
			if err := p.print(e); err != nil {
				return err
			}
		case err := <-failed:
			if ctx.Err() != nil {
				return p.end()
			}
			return h.Explain(env, err)
		case <-ctx.Done():
			return p.end()
		}
	}
	return p.end()
}

// follow reads the events of one replica.
func follow(ctx context.Context, p replica, path string, to chan<- *wire.TapEvent) error {
	body, err := p.api.Stream(ctx, path)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		e := &wire.TapEvent{}
		if err := json.Unmarshal([]byte(data), e); err != nil {
			return fmt.Errorf("an event of %s: %w", p.name, err)
		}
		select {
		case to <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the events of %s: %w", p.name, err)
	}
	return fmt.Errorf("%s ended the tap", p.name)
}

// tapPrinter prints events in one format.
type tapPrinter struct {
	env     *Env
	format  string
	entries []harEntry
}

func newTapPrinter(env *Env, format string) *tapPrinter { return &tapPrinter{env: env, format: format} }

func (p *tapPrinter) print(e *wire.TapEvent) error {
	var err error
	switch p.format {
	case "json":
		err = json.NewEncoder(p.env.Out).Encode(e)
	case "har":
		p.entries = append(p.entries, harOf(e))
	case "curl":
		_, err = fmt.Fprintln(p.env.Out, curlOf(e))
	default:
		_, err = fmt.Fprintln(p.env.Out, tapLine(e, p.format == "wide"))
	}
	if e.Dropped > 0 {
		fmt.Fprintf(p.env.Err, "lateen: %s had %d more requests than --max-rps allows\n", e.Proxy, e.Dropped)
	}
	return err
}

// end prints what is printed at once.
func (p *tapPrinter) end() error {
	if p.format != "har" {
		return nil
	}
	if p.entries == nil {
		p.entries = []harEntry{}
	}
	enc := json.NewEncoder(p.env.Out)
	enc.SetIndent("", "  ")
	return enc.Encode(map[string]any{"log": map[string]any{
		"version": "1.2", "creator": map[string]string{"name": "lateen", "version": readBuildInfo().Version}, "entries": p.entries,
	}})
}

// tapLine is an event on one line; the wide form adds headers below.
func tapLine(e *wire.TapEvent, wide bool) string {
	at := time.UnixMicro(int64(e.Time * 1e6)).Format("15:04:05.000")
	status := strconv.Itoa(e.Status)
	if e.GRPCStatus != nil {
		status += fmt.Sprintf(" grpc=%d", *e.GRPCStatus)
	}
	if e.Flags != "" {
		status += " " + e.Flags
	}
	secure := "plain"
	if e.MTLS {
		secure = "mTLS"
	}
	line := fmt.Sprintf("%s %-8s %s -> %s %s %s%s %s %s %s", at, e.Direction, peerName(e.Source), peerName(e.Destination), e.Method, e.Authority, e.Path, status, millis(e.DurationMs), secure)
	if e.Details != "" {
		line += " (" + e.Details + ")"
	}
	if !wide {
		return line
	}
	var b strings.Builder
	b.WriteString(line)
	fmt.Fprintf(&b, "\n    proxy %s, cluster %s, route %s, request id %s, %d bytes in, %d out", e.Proxy, e.Cluster, e.Route, e.RequestID, e.BytesReceived, e.BytesSent)
	for _, h := range e.RequestHeaders {
		fmt.Fprintf(&b, "\n    > %s: %s", h[0], h[1])
	}
	for _, h := range e.ResponseHeaders {
		fmt.Fprintf(&b, "\n    < %s: %s", h[0], h[1])
	}
	return b.String()
}

func peerName(p wire.TapPeer) string {
	if p.Workload == "" {
		return cmp.Or(p.Service, p.Address, "unknown")
	}
	return p.Workload + "." + p.Namespace
}

// curlOf gives the command that repeats a request. What was redacted is left for the
// user to fill in.
func curlOf(e *wire.TapEvent) string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	out := "curl -X " + quote(e.Method)
	for _, h := range e.RequestHeaders {
		switch strings.ToLower(h[0]) {
		case "host", "content-length", "x-envoy-peer-metadata", "x-envoy-peer-metadata-id":
		default:
			out += " -H " + quote(h[0]+": "+h[1])
		}
	}
	return out + " " + quote("http://"+e.Authority+e.Path)
}

// harEntry is an entry of the HTTP Archive format 1.2.
type harEntry struct {
	Started  string         `json:"startedDateTime"`
	Time     float64        `json:"time"`
	Request  harMessage     `json:"request"`
	Response harMessage     `json:"response"`
	Cache    map[string]any `json:"cache"`
	Timings  map[string]any `json:"timings"`
	Server   string         `json:"serverIPAddress,omitempty"`
	Comment  string         `json:"comment,omitempty"`
}

// harMessage is a request or a response.
type harMessage struct {
	Method      string         `json:"method,omitempty"`
	URL         string         `json:"url,omitempty"`
	Query       *[]harPair     `json:"queryString,omitempty"`
	Status      *int           `json:"status,omitempty"`
	StatusText  *string        `json:"statusText,omitempty"`
	Content     map[string]any `json:"content,omitempty"`
	Redirect    *string        `json:"redirectURL,omitempty"`
	HTTPVersion string         `json:"httpVersion"`
	Cookies     []harPair      `json:"cookies"`
	Headers     []harPair      `json:"headers"`
	HeadersSize int            `json:"headersSize"`
	BodySize    int64          `json:"bodySize"`
}

type harPair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func harOf(e *wire.TapEvent) harEntry {
	pairs := func(list [][2]string) []harPair {
		out := []harPair{}
		for _, h := range list {
			out = append(out, harPair{h[0], h[1]})
		}
		return out
	}
	query := []harPair{}
	if u, err := url.Parse(e.Path); err == nil {
		for name, values := range u.Query() {
			for _, v := range values {
				query = append(query, harPair{name, v})
			}
		}
	}
	empty := ""
	return harEntry{
		Started: time.UnixMicro(int64(e.Time * 1e6)).UTC().Format(time.RFC3339Nano), Time: e.DurationMs,
		Request: harMessage{
			Method: e.Method, URL: "http://" + e.Authority + e.Path, Query: &query, HTTPVersion: e.Protocol, Cookies: []harPair{},
			Headers: pairs(e.RequestHeaders), HeadersSize: -1, BodySize: e.BytesReceived,
		},
		Response: harMessage{
			Status: &e.Status, StatusText: &empty, Redirect: &empty, Content: map[string]any{"size": e.BytesSent, "mimeType": ""}, HTTPVersion: e.Protocol,
			Cookies: []harPair{}, Headers: pairs(e.ResponseHeaders), HeadersSize: -1, BodySize: e.BytesSent,
		},
		Cache: map[string]any{}, Timings: map[string]any{"send": 0, "wait": e.DurationMs, "receive": 0},
		Comment: e.Direction + " " + e.Proxy,
	}
}
