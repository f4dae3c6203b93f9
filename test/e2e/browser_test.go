package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// browser starts a real headless Chromium.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium: scripts/setup.sh installs it")
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1200, 800),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-sync", true))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

// ask evaluates an expression in the page.
func ask[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// do runs steps in the page.
func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// stars describes the stars of the reviews that the page shows.
type stars struct {
	n     int
	color string
}

func (s stars) String() string { return fmt.Sprintf("%d %s", s.n, s.color) }

func seenStars(t *testing.T, ctx context.Context) stars {
	t.Helper()
	return stars{
		ask[int](t, ctx, `document.querySelectorAll("#reviews .glyphicon-star").length`),
		ask[string](t, ctx, `(document.querySelector("#reviews font")||{}).color||""`),
	}
}

// TestBrowser: in a real browser jason logs in and sees the stars change with
// the routes.
func TestBrowser(t *testing.T) {
	ctx := browser(t)
	m := startMesh(t, true)
	m.sample("bookinfo/virtual-service-all-v1.yaml")
	do(t, ctx, chromedp.Navigate(strings.TrimSuffix(m.Info.Ingress.HTTP, "/")+"/productpage"))
	if title := ask[string](t, ctx, "document.title"); title != "Simple Bookstore App" {
		t.Errorf("title %q", title)
	}
	if s := seenStars(t, ctx); s.n != 0 {
		t.Errorf("reviews v1 shows stars: %v", s)
	}
	do(t, ctx, chromedp.SendKeys("#username", "jason"), chromedp.Click("#sign-in-button"), chromedp.WaitVisible("#user"))
	if user := ask[string](t, ctx, `document.querySelector("#user").textContent`); user != "jason" {
		t.Errorf("signed in as %q", user)
	}
	m.sample("bookinfo/virtual-service-reviews-test-v2.yaml")
	do(t, ctx, chromedp.Reload())
	if s := seenStars(t, ctx); s != (stars{9, "black"}) {
		t.Errorf("reviews v2 for jason: %v, want nine black ones", s)
	}
	if dir := os.Getenv("LATEEN_ARTIFACTS"); dir != "" {
		shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err == nil {
			err = os.WriteFile(dir+"/productpage.png", shot, 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	}
	m.sample("bookinfo/virtual-service-reviews-v3.yaml")
	do(t, ctx, chromedp.Reload())
	if s := seenStars(t, ctx); s != (stars{9, "red"}) {
		t.Errorf("reviews v3: %v, want nine red ones", s)
	}
}
