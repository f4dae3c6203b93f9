package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent/pages"
	"github.com/lateen-mesh/lateen/internal/agent/probes"
	"github.com/lateen-mesh/lateen/internal/agent/scrape"
	"github.com/lateen-mesh/lateen/internal/ops"
)

// listening is a port with what serves it.
type listening struct {
	listener net.Listener
	handler  http.Handler
}

func (l listening) serve(ctx context.Context) error { return pages.Serve(ctx, l.listener, l.handler) }

// Behind is what the pages ask the proxy.
type Behind struct {
	// Ready is nil when the proxy serves, and else says what it waits for.
	Ready func() error
	// Metrics writes the proxy's metrics, in OpenMetrics too unless TextOnly.
	Metrics  scrape.Own
	TextOnly bool
}

// Listen opens the pod's ports: readiness, metrics, probes, names. Run serves them.
func (s *Sidecar) Listen(b Behind) error {
	o, err := s.pages(b)
	if err != nil {
		return err
	}
	for _, x := range []struct {
		addr    string
		handler http.Handler
	}{{s.Settings.Agent, pages.Agent(o)}, {s.Settings.Readiness, pages.Readiness(o)}, {s.Settings.Metrics, pages.Own(o)}} {
		l, err := net.Listen("tcp", x.addr)
		if err != nil {
			return fmt.Errorf("pages of the pod: %w", err)
		}
		s.opened = append(s.opened, listening{l, x.handler})
	}
	if s.names != nil {
		return s.names.listen()
	}
	return nil
}

func (s *Sidecar) pages(b Behind) (pages.Options, error) {
	set := s.Settings
	ip, err := netip.ParseAddr(set.IPs[0])
	if err != nil {
		return pages.Options{}, err
	}
	prober, err := probes.New(probes.Options{Probers: set.Probers, Ports: set.Ports, PodIP: ip})
	if err != nil {
		return pages.Options{}, err
	}
	_, port, err := net.SplitHostPort(set.Agent)
	if err != nil {
		return pages.Options{}, err
	}
	ownPort, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return pages.Options{}, err
	}
	log := ops.Scope(s.o.Log, "metrics")
	var page *scrape.Page
	own := s.withAgent(b.Metrics, func() *scrape.Page { return page })
	merged := scrape.Options{Own: own, OwnTextOnly: b.TextOnly, Log: log}
	app, ok, err := scrape.ParseApplication(set.Scrape, ip.String(), uint16(ownPort))
	if err != nil {
		return pages.Options{}, err
	}
	if ok {
		merged.Application, merged.Source = &app, probes.Source(ip)
	}
	page = scrape.New(merged)
	return pages.Options{
		Ready: func() error { return s.ready(b.Ready) }, Metrics: page,
		OwnMetrics: scrape.New(scrape.Options{Own: own, OwnTextOnly: b.TextOnly, Log: log}),
		Probes:     prober, Drain: s.Life.Announce, Quit: s.o.Quit, Profiles: set.Profiles, Log: ops.Scope(s.o.Log, "pages"),
	}, nil
}

// ready says why the pod should get no traffic; nil: it should.
func (s *Sidecar) ready(proxy func() error) error {
	if s.Life.Draining() {
		return errors.New("not ready: the pod ends")
	}
	if s.Identity.Expires().IsZero() {
		return errors.New("not ready: no certificate yet")
	}
	if err := proxy(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readyAt.IsZero() {
		s.readyAt = time.Now()
		s.log.Info("ready", "after", s.readyAt.Sub(s.started).Truncate(time.Millisecond))
	}
	return nil
}
