package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// The pages that the hooks of a pod's containers ask, on the agent's port.
const (
	readyPage = "http://127.0.0.1:15021/healthz/ready"
	drainPage = "http://127.0.0.1:15020/drain"
)

// waitEvery is how often readiness is asked for: an application waits for it.
const waitEvery = 50 * time.Millisecond

// waitCommand returns when the proxy is ready, or fails after a time-out. Its flags are
// those of Istio's pilot-agent wait.
func waitCommand(ctx context.Context, env *Env, args []string) error {
	fs := newHook(env, "wait")
	url := fs.String("url", readyPage, "page that tells readiness")
	seconds := fs.Int("timeoutSeconds", 60, "how long to wait at most")
	period := fs.Int("periodMillis", int(waitEvery/time.Millisecond), "how often to ask")
	each := fs.Int("requestTimeoutMillis", 500, "time-out of one request")
	if err := parseHook(fs, args, 0); err != nil {
		return err
	}
	if *period <= 0 || *each <= 0 {
		return usageError{errors.New("--periodMillis and --requestTimeoutMillis must be positive")}
	}
	a := asking{http.MethodGet, *url, time.Duration(*each) * time.Millisecond}
	return a.until(ctx, time.Duration(*seconds)*time.Second, time.Duration(*period)*time.Millisecond)
}

// drainCommand announces the pod's end.
func drainCommand(ctx context.Context, env *Env, args []string) error {
	fs := newHook(env, "drain")
	url := fs.String("url", drainPage, "page that is asked")
	if err := parseHook(fs, args, 0); err != nil {
		return err
	}
	return asking{http.MethodPost, *url, 5 * time.Second}.once(ctx)
}

// probeCommand asks a page: once, or with --wait until it answers 200.
func probeCommand(ctx context.Context, env *Env, args []string) error {
	fs := newHook(env, "probe")
	post := fs.Bool("post", false, "ask with POST")
	wait := fs.Bool("wait", false, "ask until the page answers 200")
	timeout := fs.Duration("timeout", 3*time.Second, "time-out of a request")
	most := fs.Duration("wait-timeout", time.Minute, "how long --wait waits at most")
	if err := parseHook(fs, args, 1); err != nil {
		return err
	}
	a := asking{http.MethodGet, readyPage, *timeout}
	if *post {
		a.method = http.MethodPost
	}
	if fs.NArg() > 0 {
		a.url = fs.Arg(0)
	}
	if *wait {
		return a.until(ctx, *most, waitEvery)
	}
	return a.once(ctx)
}

// requestCommand prints a page, by default one of the admin pages: there is no curl in
// the image. Its form is that of Istio's pilot-agent request.
func requestCommand(ctx context.Context, env *Env, args []string) error {
	fs := newHook(env, "request")
	port := fs.Int("debug-port", 15000, "port of the pages")
	timeout := fs.Duration("timeout", 30*time.Second, "time-out of the request")
	if err := parseHook(fs, args, 2); err != nil {
		return err
	}
	if fs.NArg() != 2 {
		return usageError{errors.New("usage: request METHOD PATH")}
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/%s", *port, strings.TrimPrefix(fs.Arg(1), "/"))
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	resp, err := (asking{method: strings.ToUpper(fs.Arg(0)), url: url}).send(ctx)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(env.Out, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= 400 {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

func newHook(env *Env, name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(env.Err)
	return fs
}

// parseHook parses the flags, behind which there may be up to most arguments.
func parseHook(fs *flag.FlagSet, args []string, most int) error {
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usageError{err}
	}
	if fs.NArg() > most {
		return usageError{fmt.Errorf("unexpected argument %q", fs.Arg(most))}
	}
	return nil
}

// asking is a request to a page of the pod's proxy.
type asking struct {
	method, url string
	timeout     time.Duration
}

// until asks until the page answers 200.
func (a asking) until(ctx context.Context, most, every time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		err := a.once(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return fmt.Errorf("the proxy is not ready after %v: %w", most, err)
		}
	}
}

// once is nil for an answer of 200.
func (a asking) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	resp, err := a.send(ctx)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", a.url, resp.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

func (a asking) send(ctx context.Context) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, a.method, a.url, nil)
	if err != nil {
		return nil, usageError{err}
	}
	return (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
}
