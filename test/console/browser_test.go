package console

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// tab is a page in a headless Chromium.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string

	mu       sync.Mutex
	requests []string
}

// open starts a browser; its window is 1440 by 900.
func open(t *testing.T, url string) *tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium: scripts/setup.sh installs it")
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1440, 900),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-sync", true),
		// The dots of the traffic are drawn by the processor here: they would slow
		// every test down.
		chromedp.Flag("force-prefers-reduced-motion", true), chromedp.Flag("disable-gpu", true))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	p := &tab{t: t, ctx: ctx, url: url}
	p.do(chromedp.EmulateViewport(1440, 900))
	if err := chromedp.Listen(ctx, func(ev any) {
		if r, ok := ev.(*network.EventRequestWillBeSent); ok {
			p.mu.Lock()
			p.requests = append(p.requests, r.Request.URL)
			p.mu.Unlock()
		}
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

// do runs steps in the page.
func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 3*time.Minute)
	defer cancel()
	if _, err := chromedp.Run(p.ctx, chromedp.Sleep(0)); err != nil {
		p.t.Fatal(err)
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// ask evaluates an expression in the page; promises are awaited.
func ask[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits until an expression is true.
func (p *tab) until(expression string) {
	p.t.Helper()
	for end := time.Now().Add(90 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if ask[bool](p, "!!("+expression+")") {
			return
		}
		if time.Now().After(end) {
			p.shot("failed")
			p.t.Fatalf("%s: not within 90 s; the page says:\n%s", expression, ask[string](p, "document.body.innerText"))
		}
	}
}

// page shows a page of the console, and waits until an expression is true.
func (p *tab) page(hash, ready string) {
	p.t.Helper()
	if !strings.HasPrefix(ask[string](p, "location.href"), p.url) {
		p.do(chromedp.Navigate(p.url + "/" + hash))
	} else {
		ask[bool](p, fmt.Sprintf("location.hash = %q, true", hash))
	}
	p.until(ready)
}

// theme chooses the theme; the page is loaded anew.
func (p *tab) theme(name string) {
	p.t.Helper()
	p.do(chromedp.Navigate(p.url + "/"))
	ask[bool](p, fmt.Sprintf("localStorage.setItem('lateen.theme', %q), true", name))
	p.do(chromedp.Reload())
}

// shot keeps a picture of the window as an artifact.
func (p *tab) shot(name string) {
	p.t.Helper()
	dir := os.Getenv("LATEEN_ARTIFACTS")
	if dir == "" {
		return
	}
	time.Sleep(350 * time.Millisecond) // what moves comes to rest
	png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		p.t.Error(err)
	}
}

// foreign are the requests that left the server's origin.
func (p *tab) foreign() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, r := range p.requests {
		if !strings.HasPrefix(r, p.url) && !strings.HasPrefix(r, "data:") && !strings.HasPrefix(r, "about:") {
			out = append(out, r)
		}
	}
	return out
}
