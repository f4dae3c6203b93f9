package scrape

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// Application says where the application's metrics are.
type Application struct {
	Host string // address of the pod
	Port uint16
	Path string
}

// ParseApplication reads ISTIO_PROMETHEUS_ANNOTATIONS, Istio's JSON of the pod's
// prometheus.io annotations; ok is false where the application is not to be scraped.
// ownPort is the port of the merged page: metrics there are this page, not the
// application's.
func ParseApplication(text, host string, ownPort uint16) (a Application, ok bool, err error) {
	if strings.TrimSpace(text) == "" {
		return a, false, nil
	}
	var j struct{ Scrape, Port, Path string }
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return a, false, fmt.Errorf("ISTIO_PROMETHEUS_ANNOTATIONS: %w", err)
	}
	if j.Scrape != "true" {
		return a, false, nil
	}
	a = Application{Host: host, Port: 80, Path: "/metrics"}
	if j.Path != "" {
		a.Path = j.Path
	}
	if j.Port != "" {
		n, err := strconv.ParseUint(j.Port, 10, 16)
		if err != nil || n == 0 {
			return a, false, fmt.Errorf("ISTIO_PROMETHEUS_ANNOTATIONS: port %q is not a port", j.Port)
		}
		a.Port = uint16(n)
	}
	return a, a.Port != ownPort, nil
}

func (a Application) url() string {
	return "http://" + net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port))) + "/" + strings.TrimPrefix(a.Path, "/")
}

// Own writes the proxy's metrics. open is true for OpenMetrics, without its end mark,
// false for Prometheus' text form.
type Own func(ctx context.Context, w io.Writer, open bool) error

// Options configure a page. Own is required.
type Options struct {
	Own Own
	// OwnTextOnly says that Own cannot write OpenMetrics.
	OwnTextOnly bool
	// Application is nil where it is not scraped.
	Application *Application
	// Source is the local address for asking the application; nil: any.
	Source net.Addr
	// Timeout for the application; 0: 10 s, Prometheus' own. A shorter one of the
	// scraper's counts.
	Timeout time.Duration
	Log     *slog.Logger
}

// Page serves the merged metrics.
type Page struct {
	o      Options
	client *http.Client

	scrapes, failures atomic.Uint64
	quiet             atomic.Int64 // when a failure may be logged again, in Unix seconds
}

// New makes a page.
func New(o Options) *Page {
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &net.Dialer{LocalAddr: o.Source}
	return &Page{o: o, client: &http.Client{Transport: &http.Transport{
		DialContext: d.DialContext, MaxIdleConns: 1, IdleConnTimeout: time.Minute, Proxy: nil,
	}}}
}

// Counts are the scrapes so far, and those in which the application's metrics were
// missing.
func (p *Page) Counts() (scrapes, failures uint64) { return p.scrapes.Load(), p.failures.Load() }

// Content types of the two forms.
const (
	textType = "text/plain; version=0.0.4; charset=utf-8"
	openType = "application/openmetrics-text; version=1.0.0; charset=utf-8"
)

// mostPage bounds what is taken of an application.
const mostPage = 64 << 20

// ServeHTTP serves the page. Whatever becomes of the application's part, the proxy's
// is served.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.scrapes.Add(1)
	open := !p.o.OwnTextOnly && wantsOpen(r.Header)
	var app io.ReadCloser
	if p.o.Application != nil {
		ctx, cancel := context.WithTimeout(r.Context(), p.timeout(r.Header))
		defer cancel()
		var err error
		var appOpen bool
		if app, appOpen, err = p.ask(ctx, r.Header, open); err != nil {
			p.complain(err)
		} else {
			defer app.Close()
			switch {
			case open && !appOpen:
				open = false // the one form that both have
			case !open && appOpen:
				app = toText(app)
				defer app.Close()
			}
		}
	}
	w.Header().Set("Content-Type", map[bool]string{true: openType, false: textType}[open])
	if err := p.o.Own(r.Context(), w, open); err != nil {
		p.o.Log.Warn("the proxy's metrics are not complete", "err", err)
	}
	if app != nil {
		if err := copyLines(w, app); err != nil {
			p.complain(err)
		}
	}
	if open {
		_, _ = io.WriteString(w, "# EOF\n") // the scraper's departure is its own affair
	}
}

// timeout leaves the scraper time to read the page.
func (p *Page) timeout(h http.Header) time.Duration {
	if s, err := strconv.ParseFloat(h.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64); err == nil && s > 0 {
		return min(p.o.Timeout, time.Duration(s*0.9*float64(time.Second)))
	}
	return p.o.Timeout
}

// ask gets the application's page; open tells its form.
func (p *Page) ask(ctx context.Context, from http.Header, wantOpen bool) (body io.ReadCloser, open bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.o.Application.url(), nil)
	if err != nil {
		return nil, false, err
	}
	accept := "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
	if wantOpen {
		accept = "application/openmetrics-text;version=1.0.0;q=0.8," + accept
	}
	req.Header.Set("Accept", accept)
	for _, name := range []string{"User-Agent", "X-Prometheus-Scrape-Timeout-Seconds", "Authorization"} {
		if v := from.Get(name); v != "" {
			req.Header.Set(name, v)
		}
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, false, err
	}
	if resp.StatusCode != http.StatusOK {
		err = errors.Join(fmt.Errorf("%s answers %s", req.URL, resp.Status), resp.Body.Close())
		return nil, false, err
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if strings.Contains(kind, "protobuf") {
		return nil, false, errors.Join(fmt.Errorf("%s answers in protobuf, which was not asked for", req.URL), resp.Body.Close())
	}
	return limited{io.LimitReader(resp.Body, mostPage), resp.Body}, kind == "application/openmetrics-text", nil
}

type limited struct {
	io.Reader
	io.Closer
}

// complain counts a failure, and says it once a minute.
func (p *Page) complain(err error) {
	p.failures.Add(1)
	now, quiet := time.Now().Unix(), p.quiet.Load()
	if now >= quiet && p.quiet.CompareAndSwap(quiet, now+60) {
		p.o.Log.Warn("the application's metrics are missing", "err", err)
	}
}

// wantsOpen reports whether the scraper prefers OpenMetrics.
func wantsOpen(h http.Header) bool {
	f := expfmt.NegotiateIncludingOpenMetrics(h)
	return f.FormatType() == expfmt.TypeOpenMetrics
}

// agentPrefix goes before families that an application written in Go has too: a name
// may be there once.
const agentPrefix = "istio_agent_"

// Gatherer is an Own of a Prometheus registry.
func Gatherer(g prometheus.Gatherer) Own {
	return func(_ context.Context, w io.Writer, open bool) error {
		families, err := g.Gather() // what was gathered is served, also beside an error
		format := expfmt.NewFormat(expfmt.TypeTextPlain)
		if open {
			format = expfmt.NewFormat(expfmt.TypeOpenMetrics)
		}
		e := expfmt.NewEncoder(w, format)
		for _, f := range families {
			if name := f.GetName(); strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "promhttp_") {
				name = agentPrefix + name
				f.Name = &name
			}
			if eerr := e.Encode(f); eerr != nil {
				return errors.Join(err, eerr)
			}
		}
		return err
	}
}
