// Command bench measures lateen-proxy beside Envoy, HAProxy, nginx, Go's
// httputil.ReverseProxy and no proxy at all, on one machine and in one run, all
// configured to do the same. See README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/lateen-mesh/lateen/bench/load"
	"github.com/lateen-mesh/lateen/bench/origin"
	"github.com/lateen-mesh/lateen/bench/peer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the command line.
type settings struct {
	cases      []string
	kinds      []string
	rounds     int
	seconds    int
	output     string
	results    string
	profile    string
	rbac       bool
	proxyCores string
	loadCores  string
	lateen     string
	keep       bool
}

// run is main without the process. This program is also its own origin, open-loop
// generator and Go proxy, each in a process of its own.
func run(ctx context.Context, args []string, out, errs io.Writer) error {
	if len(args) == 2 {
		switch args[0] {
		case "serve-origin":
			runtime.LockOSThread()
			var a origin.Addresses
			if err := json.Unmarshal([]byte(args[1]), &a); err != nil {
				return err
			}
			return origin.Serve(a)
		case "serve-go-proxy":
			return peer.ServeGo(args[1])
		case "load":
			return load.Main(ctx, args[1], os.Stdin, out)
		}
	}
	s, err := parse(args, errs)
	if err != nil {
		return err
	}
	return measure(ctx, s, out, errs)
}

func parse(args []string, errs io.Writer) (*settings, error) {
	s := &settings{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(errs)
	cases := fs.String("case", "", "cases, separated by commas; empty: all ("+strings.Join(names(), ", ")+")")
	kinds := fs.String("proxy", "", "proxies, separated by commas; empty: all ("+strings.Join(peer.Kinds, ", ")+")")
	fs.IntVar(&s.rounds, "rounds", 3, "rounds; the figures are medians over them")
	fs.IntVar(&s.seconds, "seconds", 0, "length of one measurement; 0: as the case says")
	fs.StringVar(&s.output, "o", "table", "table or json (one line per proxy)")
	fs.StringVar(&s.results, "results", "", "file to keep the table in")
	fs.StringVar(&s.profile, "profile", "", "file for a CPU profile of lateen-proxy's server side in the last round")
	fs.BoolVar(&s.rbac, "rbac", true, "with an allow rule of HTTP RBAC in the chain")
	fs.StringVar(&s.proxyCores, "proxy-cores", "0", "core of the proxies")
	fs.StringVar(&s.loadCores, "load-cores", "", "cores of generator and origin; empty: all others")
	fs.StringVar(&s.lateen, "lateen", "", "lateen-proxy's binary; empty: built from this tree")
	fs.BoolVar(&s.keep, "keep", false, "keep the directory with configurations and logs")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case s.output != "table" && s.output != "json":
		return nil, fmt.Errorf("-o %q: table or json", s.output)
	case s.rounds < 1:
		return nil, errors.New("-rounds: at least one")
	}
	if s.loadCores == "" {
		switch n := runtime.NumCPU(); n {
		case 1:
			return nil, errors.New("one core is not enough: the proxies have one and the load another")
		case 2:
			s.loadCores = "1"
		default:
			s.loadCores = fmt.Sprintf("1-%d", n-1)
		}
	}
	var err error
	if s.cases, err = choose("case", *cases, names()); err != nil {
		return nil, err
	}
	s.kinds, err = choose("proxy", *kinds, peer.Kinds)
	return s, err
}

// choose reads a list of names; none means all.
func choose(what, list string, all []string) ([]string, error) {
	if list == "" {
		return all, nil
	}
	var out []string
	for name := range strings.SplitSeq(list, ",") {
		found := false
		for _, a := range all {
			found = found || a == name
		}
		if !found {
			return nil, fmt.Errorf("-%s: there is no %q, only %s", what, name, strings.Join(all, ", "))
		}
		out = append(out, name)
	}
	return out, nil
}
