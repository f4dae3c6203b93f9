package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lateen-mesh/lateen/internal/ops"
)

// page is one admin page, as /help lists it. Envoy's names and shapes are kept
// where scripts and istioctl-like tools read them.
type page struct {
	path, help string
	post       bool // changes something
	serve      http.HandlerFunc
}

func (p *Proxy) pages() []page {
	return []page{
		{"/certs", "certificates in use, as JSON", false, p.pageCerts},
		{"/clusters", "upstream clusters and their endpoints (?format=json)", false, p.pageClusters},
		{"/config_dump", "configuration in force (?include_eds, ?resource=, ?name_regex=)", false, p.pageConfigDump},
		{"/drain_listeners", "drain inbound listeners", true, p.pageDrain},
		{"/healthcheck/fail", "make /ready and the readiness probe fail", true, p.pageHealth(true)},
		{"/healthcheck/ok", "undo /healthcheck/fail", true, p.pageHealth(false)},
		{"/listeners", "listeners in force (?format=json)", false, p.pageListeners},
		{"/logging", "log levels; POST ?level=LEVEL for all, ?SCOPE=LEVEL for one", false, p.pageLogging},
		{"/memory", "memory of the process, as JSON", false, p.pageMemory},
		{"/overload", "what the process uses of what it may, and what it does about it, as JSON", false, p.pageOverload},
		{"/quitquitquit", "end the proxy", true, p.pageQuit},
		{"/ready", "200 LIVE when the first configuration is in force, else 503", false, p.pageReady},
		{"/server_info", "version, state, node", false, p.pageServerInfo},
		{"/stats", "counters as text (?filter=REGEX, ?usedonly)", false, p.pageStats},
		{"/stats/prometheus", "metrics in Prometheus' text form (?filter=REGEX adds those of clusters that match)", false, p.pageMetrics},
	}
}

// adminHandler serves the admin pages.
func (p *Proxy) adminHandler() http.Handler {
	mux := http.NewServeMux()
	pages := p.pages()
	help := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" && r.URL.Path != "/help" {
			http.Error(w, "no such page; see /help", http.StatusNotFound)
			return
		}
		plain(w)
		io.WriteString(w, "admin commands are:\n")
		if p.opts.Profiles {
			io.WriteString(w, "  /debug/pprof/: Go's profiles of the process, for clients on this machine\n")
		}
		for _, pg := range pages {
			how := ""
			if pg.post {
				how = " (POST)"
			}
			fmt.Fprintf(w, "  %s%s: %s\n", pg.path, how, pg.help)
		}
	}
	mux.HandleFunc("/", help)
	if p.opts.Profiles {
		profiles(mux)
	}
	for _, pg := range pages {
		mux.HandleFunc(pg.path, func(w http.ResponseWriter, r *http.Request) {
			if pg.post && r.Method != http.MethodPost {
				http.Error(w, "use POST", http.StatusMethodNotAllowed)
				return
			}
			pg.serve(w, r)
		})
	}
	return mux
}

func plain(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/plain; charset=UTF-8") }

// statusHandler serves metrics and readiness, on their own ports.
func (p *Proxy) statusHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/stats/prometheus", p.pageMetrics)
	mux.HandleFunc("/metrics", p.pageMetrics)
	mux.HandleFunc("/healthz/ready", p.pageReady)
	return mux
}

// serveAdmin serves the pages on the listeners that there are. stop ends them.
func (p *Proxy) serveAdmin(wg *sync.WaitGroup) (stop func()) {
	var servers []*http.Server
	serve := func(l net.Listener, h http.Handler) {
		if l == nil {
			return
		}
		s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
		servers = append(servers, s)
		wg.Go(func() {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				p.log.Error("admin server ended", "addr", l.Addr(), "err", err)
			}
		})
	}
	serve(p.opts.AdminListener, p.adminHandler())
	serve(p.opts.MetricsListener, p.statusHandler())
	serve(p.opts.StatusListener, p.statusHandler())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		for _, s := range servers {
			if err := s.Shutdown(ctx); err != nil {
				_ = s.Close()
			}
		}
	}
}

func (p *Proxy) pageMetrics(w http.ResponseWriter, r *http.Request) {
	all := prometheus.Gatherers{p.registry}
	if filter := r.URL.Query().Get("filter"); filter != "" {
		match, err := regexp.Compile(filter)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		clusters := prometheus.NewRegistry()
		if err := clusters.Register(clusterMetrics{p, match}); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		all = append(all, clusters)
	}
	promhttp.HandlerFor(all, promhttp.HandlerOpts{DisableCompression: true}).ServeHTTP(w, r)
}

func (p *Proxy) pageReady(w http.ResponseWriter, _ *http.Request) {
	plain(w)
	if err := p.readyErr(); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, "%s\n%v\n", p.stateName(), err)
		return
	}
	io.WriteString(w, "LIVE\n")
}

// stateName gives Envoy's name of the proxy's state.
func (p *Proxy) stateName() string {
	switch {
	case p.draining.Load():
		return "DRAINING"
	case p.ready.Err() != nil:
		return "PRE_INITIALIZING"
	}
	return "LIVE"
}

func (p *Proxy) pageHealth(fail bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		p.failHealth.Store(fail)
		plain(w)
		io.WriteString(w, "OK\n")
	}
}

func (p *Proxy) pageQuit(w http.ResponseWriter, _ *http.Request) {
	if p.opts.Quit == nil {
		http.Error(w, "this proxy is one of several in its process and is ended by it", http.StatusForbidden)
		return
	}
	plain(w)
	io.WriteString(w, "OK\n")
	p.quitOnce.Do(func() { go p.opts.Quit() })
}

func (p *Proxy) pageDrain(w http.ResponseWriter, _ *http.Request) {
	p.draining.Store(true)
	// Draining goes on after the answer: it ends with the connections.
	go p.listeners.Drain(context.Background(), p.staysOpen())
	plain(w)
	io.WriteString(w, "OK\n")
}

// pageLogging shows levels, and changes them as Envoy's page does:
// ?level=debug, ?paths=a:debug,b:info, ?SCOPE=debug.
func (p *Proxy) pageLogging(w http.ResponseWriter, r *http.Request) {
	if p.opts.Levels == nil {
		http.Error(w, "the log levels of this proxy are its process's", http.StatusNotImplemented)
		return
	}
	if r.Method == http.MethodPost {
		if err := changeLevels(p.opts.Levels, r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	plain(w)
	io.WriteString(w, "active loggers:\n")
	all := p.opts.Levels.All()
	names := make([]string, 0, len(all))
	for n := range all {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		fmt.Fprintf(w, "  %s: %s\n", n, ops.LevelName(all[n]))
	}
}

func changeLevels(levels *ops.Levels, r *http.Request) error {
	q := r.URL.Query()
	if len(q) == 0 {
		return errors.New("usage: /logging?level=LEVEL, /logging?paths=SCOPE:LEVEL,… or /logging?SCOPE=LEVEL")
	}
	for key := range q {
		value := q.Get(key)
		if key == "paths" {
			for part := range strings.SplitSeq(value, ",") {
				scope, name, ok := strings.Cut(part, ":")
				if !ok {
					return fmt.Errorf("paths: %q is not SCOPE:LEVEL", part)
				}
				if err := setLevel(levels, scope, name); err != nil {
					return err
				}
			}
			continue
		}
		if err := setLevel(levels, key, value); err != nil {
			return err
		}
	}
	return nil
}

func setLevel(levels *ops.Levels, scope, name string) error {
	level, err := ops.ParseLevel(name)
	if err != nil {
		return err
	}
	if scope == "level" {
		levels.SetAll(level)
		return nil
	}
	return levels.Set(scope, level)
}
