package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// drawn is what the graph's page shows.
type drawn struct {
	Nodes []string          `json:"nodes"` // ids, sorted
	Edges map[string]string `json:"edges"` // "source>target" to its state
	Locks int               `json:"locks"` // edges with a closed lock
	Rates int               `json:"rates"` // edges with a rate
}

const readGraph = `JSON.stringify({
	nodes: [...document.querySelectorAll(".gnode")].map(n => n.dataset.node).sort(),
	edges: Object.fromEntries([...document.querySelectorAll(".gedge")].map(e => [e.dataset.edge.replace(/\/(http|grpc|tcp)$/, ""), e.dataset.state])),
	locks: document.querySelectorAll(".glabel .lock.on").length,
	rates: [...document.querySelectorAll(".glabel text")].filter(t => /^[\d.,<k]+ rps$/.test(t.textContent)).length,
})`

func seenGraph(t *testing.T, ctx context.Context) drawn {
	t.Helper()
	var d drawn
	if err := json.Unmarshal([]byte(ask[string](t, ctx, readGraph)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// until waits until an expression of the page is true.
func until(t *testing.T, ctx context.Context, within time.Duration, expression string) {
	t.Helper()
	eventually(t, within, func() error {
		if !ask[bool](t, ctx, "!!("+expression+")") {
			return fmt.Errorf("%s is not true; the page says:\n%s", expression, ask[string](t, ctx, "document.body.innerText"))
		}
		return nil
	})
}

// picture keeps the window as an artifact.
func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("LATEEN_ARTIFACTS")
	if dir == "" {
		return
	}
	time.Sleep(500 * time.Millisecond) // what moves comes to rest
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

// fetch asks for a page of this machine.
func fetch(url string) (int, string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// visit asks for the product page again and again until the test ends.
func (m *mesh) visit(ctx context.Context) {
	for ctx.Err() == nil {
		_, _, _ = m.tryGet("/productpage") // a fault that the test injects is no failure here
		time.Sleep(60 * time.Millisecond)
	}
}

var bookinfoEdges = []string{
	"app/default/productpage/v1>app/default/details/v1",
	"app/default/productpage/v1>app/default/reviews/v1", "app/default/productpage/v1>app/default/reviews/v2", "app/default/productpage/v1>app/default/reviews/v3",
	"app/default/reviews/v2>app/default/ratings/v1", "app/default/reviews/v3>app/default/ratings/v1",
	"gateway/istio-system/istio-ingressgateway>app/default/productpage/v1",
}

// TestConsole: with traffic the console's graph shows Bookinfo exactly, under mutual
// TLS; a shift made in the wizard changes the measured split; a fault made in the
// wizard turns an edge red.
func TestConsole(t *testing.T) {
	ctx := browser(t)
	m := startMesh(t, false)
	if code, _, err := fetch(strings.TrimSuffix(m.Info.Console, "/") + "/api/graph"); err != nil || code == 404 {
		t.Skipf("this control plane has no graph (%d, %v)", code, err)
	}
	do(t, ctx, chromedp.EmulateViewport(1440, 860))
	loading, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.visit(loading) }()
	defer func() { stop(); <-done }()

	start := time.Now()
	do(t, ctx, chromedp.Navigate(strings.TrimSuffix(m.Info.Console, "/")+"/#/graph"))
	var d drawn
	eventually(t, 90*time.Second, func() error {
		d = seenGraph(t, ctx)
		if len(d.Edges) < len(bookinfoEdges) || d.Rates < len(bookinfoEdges) {
			return fmt.Errorf("the graph shows %+v", d)
		}
		return nil
	})
	t.Logf("the graph was complete after %v", time.Since(start).Round(time.Millisecond))
	var edges []string
	for e := range d.Edges {
		edges = append(edges, e)
	}
	slices.Sort(edges)
	if !slices.Equal(edges, bookinfoEdges) {
		t.Errorf("edges:\n%s\nwant:\n%s", strings.Join(edges, "\n"), strings.Join(bookinfoEdges, "\n"))
	}
	if len(d.Nodes) != 7 {
		t.Errorf("nodes: %q", d.Nodes)
	}
	if d.Locks != len(bookinfoEdges) {
		t.Errorf("%d edges have a closed lock, want %d", d.Locks, len(bookinfoEdges))
	}
	picture(t, ctx, "console")

	t.Run("shift", func(t *testing.T) { consoleShift(t, ctx, m) })
	t.Run("fault", func(t *testing.T) { consoleFault(t, ctx, m) })
}

// wizard opens a wizard on a service's page.
func wizard(t *testing.T, ctx context.Context, service, kind string) {
	t.Helper()
	ask[bool](t, ctx, fmt.Sprintf(`location.hash = "#/services/default/%s", true`, service))
	until(t, ctx, time.Minute, fmt.Sprintf(`document.querySelector(".page > header h2")?.textContent === %q && document.querySelector(".page .menu > button")`, service))
	ask[bool](t, ctx, `document.querySelector(".page .menu > button").click(), true`)
	until(t, ctx, time.Minute, fmt.Sprintf(`document.querySelector('[data-wizard="%s"]')`, kind))
	ask[bool](t, ctx, fmt.Sprintf(`document.querySelector('[data-wizard="%s"]').click(), true`, kind))
	until(t, ctx, time.Minute, `document.querySelector("dialog .wizard")`)
}

// fill sets an input of the page.
func fill(t *testing.T, ctx context.Context, selector, value, event string) {
	t.Helper()
	ask[bool](t, ctx, fmt.Sprintf(`(() => { const i = document.querySelector(%q); i.value = %q; i.dispatchEvent(new Event(%q, {bubbles: true})); return true })()`, selector, value, event))
	time.Sleep(100 * time.Millisecond) // the form draws what follows from it
}

// finish applies what a wizard has written, and waits until it is in force.
func finish(t *testing.T, ctx context.Context, m *mesh, name string) {
	t.Helper()
	until(t, ctx, time.Minute, `!document.querySelector("[data-apply]").disabled && document.querySelector(".outcome .dest, .outcome .small:not(.muted)")`)
	picture(t, ctx, name)
	ask[bool](t, ctx, `document.querySelector("[data-apply]").click(), true`)
	until(t, ctx, time.Minute, `!document.querySelector("dialog")`)
	until(t, ctx, time.Minute, `[...document.querySelectorAll(".toast")].some(t => t.textContent.startsWith("In force"))`)
}

func consoleShift(t *testing.T, ctx context.Context, m *mesh) {
	wizard(t, ctx, "reviews", "shift")
	fill(t, ctx, "[data-weight=v2]", "0", "change")
	fill(t, ctx, "[data-weight=v1]", "70", "change")
	finish(t, ctx, m, "console-shift")
	count := map[string]int{}
	const n = 300
	for range n {
		_, page := m.get("/productpage")
		switch {
		case strings.Contains(page, `<font color="black">`):
			count["v2"]++
		case strings.Contains(page, `<font color="red">`):
			count["v3"]++
		case strings.Contains(page, "Reviewer1"):
			count["v1"]++
		default:
			t.Fatalf("no reviews on the page:\n%s", page)
		}
	}
	// Four standard deviations of 300 draws at 30 % are 32.
	if count["v2"] != 0 || count["v3"] < n*30/100-32 || count["v3"] > n*30/100+32 {
		t.Errorf("of %d requests %v, want about 70 %% for v1, none for v2 and 30 %% for v3", n, count)
	}
}

func consoleFault(t *testing.T, ctx context.Context, m *mesh) {
	wizard(t, ctx, "ratings", "fault")
	fill(t, ctx, `dialog input[type=number][max="100"]`, "100", "input")
	finish(t, ctx, m, "console-fault")
	ask[bool](t, ctx, `location.hash = "#/graph?range=30s", true`)
	// What a fault answers reaches no workload: the edge leads to the service.
	edge := "app/default/reviews/v3>service/default/ratings"
	eventually(t, 2*time.Minute, func() error {
		if d := seenGraph(t, ctx); d.Edges[edge] != "bad" {
			return fmt.Errorf("the edge to ratings is not red: %+v", d)
		}
		return nil
	})
	picture(t, ctx, "console-red")
}
