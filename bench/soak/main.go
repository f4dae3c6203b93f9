package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// settings are the command line.
type settings struct {
	length   time.Duration
	load     float64
	program  string
	results  string
	keep     bool
	progress func(format string, args ...any)
}

func run(ctx context.Context, args []string, out, errs io.Writer) (err error) {
	s := &settings{}
	fs := flag.NewFlagSet("soak", flag.ContinueOnError)
	fs.SetOutput(errs)
	fs.DurationVar(&s.length, "time", 20*time.Minute, "how long the traffic lasts, after its rate is found")
	fs.Float64Var(&s.load, "load", 0.6, "rate of short exchanges, as a part of what the proxies can do at most")
	fs.StringVar(&s.program, "lateen", "", "lateen-proxy's binary; empty: built from this tree")
	fs.StringVar(&s.results, "results", "", "file for the report in JSON")
	fs.BoolVar(&s.keep, "keep", false, "keep the directory with configurations and logs even if all is well")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if s.length < 20*time.Second || s.load <= 0 || s.load > 1 || fs.NArg() > 0 {
		return errors.New("-time is 20s at least, -load in 0..1, and there are no other arguments")
	}
	start := time.Now()
	s.progress = func(format string, args ...any) {
		fmt.Fprintf(errs, "%6.1fs "+format+"\n", append([]any{time.Since(start).Seconds()}, args...)...)
	}
	dir, err := os.MkdirTemp("", "lateen-soak-")
	if err != nil {
		return err
	}
	r, err := soak(ctx, s, dir)
	if r != nil {
		r.table(out)
		if s.results != "" {
			err = errors.Join(err, r.write(s.results))
		}
		err = errors.Join(err, r.verdict())
	}
	if err != nil || s.keep {
		s.progress("configurations and logs are kept in %s", dir)
		return err
	}
	return os.RemoveAll(dir)
}

// scene is all that takes part.
type scene struct {
	*settings
	dir       string
	ports     ports
	authority *authority
	control   *control
	origins   *origins
	bad       io.Closer
	operator  *changer
	proxies   []*sidecar
	steady    *steady
	good      *ledger // of steady traffic
	foul      *ledger // of hostile peers
}

// soak runs the whole.
func soak(ctx context.Context, s *settings, dir string) (r *report, err error) {
	c := &scene{settings: s, dir: dir, good: newLedger(), foul: newLedger()}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	r = &report{Start: time.Now(), Length: s.length.String(), Load: s.load}
	for _, p := range c.proxies {
		before, err := p.sample()
		if err != nil {
			return nil, err
		}
		r.Before = append(r.Before, before)
	}
	if err := c.traffic(ctx, r); err != nil {
		return r, err
	}
	return r, c.aftermath(r)
}

// open starts everything.
func (c *scene) open(ctx context.Context) (err error) {
	if err = c.ports.free(); err != nil {
		return err
	}
	if c.origins, err = startOrigins(&c.ports); err != nil {
		return err
	}
	if c.bad, err = startHostile(&c.ports); err != nil {
		return err
	}
	if c.authority, err = newAuthority(); err != nil {
		return err
	}
	socket := filepath.Join(c.dir, "xds.sock")
	if c.control, err = newControl(socket, c.authority); err != nil {
		return err
	}
	c.operator = &changer{control: c.control, authority: c.authority, ports: c.ports, out: nodeID("client"), in: nodeID("server"), setting: setting{weight: 50, timeout: 5}}
	if err = c.operator.rotate(); err != nil {
		return err
	}
	if err = c.operator.apply(); err != nil {
		return err
	}
	if c.program == "" {
		c.progress("building lateen-proxy")
		if c.program, err = build(ctx, c.dir); err != nil {
			return err
		}
	}
	server, err := startSidecar(c.dir, c.program, socket, "server", c.ports.adminIn)
	if server != nil {
		c.proxies = append(c.proxies, server)
	}
	if err != nil {
		return err
	}
	client, err := startSidecar(c.dir, c.program, socket, "client", c.ports.adminOut)
	if client != nil {
		c.proxies = append(c.proxies, client)
	}
	if err != nil {
		return err
	}
	c.steady, err = newSteady(c.ports, c.authority, c.good)
	return err
}

func (c *scene) close() (err error) {
	for _, p := range c.proxies {
		p.proc.Stop()
	}
	if c.control != nil {
		c.control.close()
	}
	if c.bad != nil {
		err = errors.Join(err, c.bad.Close())
	}
	if c.origins != nil {
		err = errors.Join(err, c.origins.close())
	}
	return err
}

const (
	warmTime     = 3 * time.Second
	saturateTime = 12 * time.Second
)

// traffic finds the rate and then keeps all at work for the soak's length.
func (c *scene) traffic(ctx context.Context, r *report) error {
	all := c.steady.works()
	p := &pacer{all: all, order: schedule(all), ledger: c.good}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { (&crowds{steady: c.steady, hostile: hostile{c.ports}, ledger: c.good, foul: c.foul}).run(ctx) })
	p.saturate(ctx, warmTime)
	r.Saturation = p.saturate(ctx, saturateTime)
	r.Rate = r.Saturation * c.load
	c.progress("saturated at %.0f exchanges a second beside the sessions and the hostile; the rate is %.0f", r.Saturation, r.Rate)
	time.AfterFunc(c.length, cancel)
	var operated error
	wg.Go(func() { p.run(ctx, r.Rate) })
	wg.Go(func() { operated = c.operator.run(ctx) })
	var err error
	r.Samples, err = watchSamples(ctx, time.Now(), c.proxies, c.good, func(s sample) {
		c.progress("%-6s RSS %5.1f MiB, anonymous %5.1f, %4d descriptors, %5d goroutines, %4d connections; %d exchanges, %d faults",
			s.Proxy, float64(s.RSS)/(1<<20), float64(s.Anon)/(1<<20), s.Descriptors, s.Goroutines, s.Connections, s.Exchanges, s.Faults)
	})
	if err != nil {
		cancel()
	}
	wg.Wait()
	c.steady.close()
	r.Unsent = p.unsent.Load()
	r.collect(c)
	return errors.Join(err, operated)
}

// saturate measures how many exchanges the proxies can do in a second.
func (p *pacer) saturate(ctx context.Context, length time.Duration) float64 {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	start := time.Now()
	n := p.run(ctx, 0)
	return float64(n) / time.Since(start).Seconds()
}

// aftermath checks what the proxies still hold when the traffic is over.
func (c *scene) aftermath(r *report) error {
	within := drainTime + poolIdle + 40*time.Second
	c.progress("the traffic is over; waiting for connections to end")
	for i, p := range c.proxies {
		after, err := p.settle(r.Before[i], within)
		r.After = append(r.After, after)
		if err == nil {
			continue
		}
		r.Leaks = append(r.Leaks, err.Error())
		text, perr := p.page("/debug/pprof/goroutine?debug=2")
		if perr == nil {
			perr = os.WriteFile(filepath.Join(c.dir, p.name+".goroutines"), []byte(text), 0o600)
		}
		if perr != nil {
			return perr
		}
	}
	return nil
}
