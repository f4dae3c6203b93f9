package console

import (
	"testing"

	"github.com/chromedp/chromedp"
)

// calibration is how many milliseconds the sum below takes a browser on a quiet
// machine of the kind that the bound is meant for.
const calibration = 60

// TestLarge draws 500 services: from the answer's arrival until the frame after it,
// layout, 500 nodes and some 700 edges take less than a second. On a busy machine the
// bound grows as a fixed sum does.
func TestLarge(t *testing.T) {
	f := serve(t, large(500))
	p := open(t, f.URL)
	p.page("#/mesh", `document.querySelector(".pushrow")`) // the program is there
	took := ask[float64](p, `(() => { let best = 1e9; for (let k = 0; k < 3; k++) { const s = performance.now(); let x = 0; for (let i = 0; i < 3e7; i++) x = (x * 31 + i) | 0; best = Math.min(best, performance.now() - s + (x & 0)); } return best })()`)
	busy := max(1, took/calibration)
	p.page("#/graph?view=service", `document.querySelectorAll(".gnode").length === 500`)
	p.until(`performance.getEntriesByName("lateen-drawn").length > 0`)
	ms := ask[float64](p, `(() => { const r = performance.getEntriesByType("resource").filter(e => e.name.includes("/api/graph")).pop(); return performance.getEntriesByName("lateen-drawn").pop().startTime - r.responseEnd })()`)
	layout := ask[float64](p, `performance.getEntriesByName("lateen-layout", "measure").pop().duration`)
	t.Logf("drawn in %.0f ms, of which layout %.0f ms; the machine is %.1f times slower than a quiet one", ms, layout, busy)
	if ms > 1000*busy {
		t.Errorf("500 services were drawn in %.0f ms, want at most %.0f", ms, 1000*busy)
	}
	if n := ask[int](p, `document.querySelectorAll(".gedge").length`); n < 600 {
		t.Errorf("%d edges", n)
	}
	p.shot("large")
	if over := ask[int](p, overlaps); over > 0 {
		t.Errorf("%d pairs of nodes lie on each other", over)
	}
	p.do(chromedp.Click(`[aria-label="Closer"]`), chromedp.Click(`[aria-label="Closer"]`), chromedp.Click(`[aria-label="Closer"]`), chromedp.Click(`[aria-label="Closer"]`))
	p.shot("large-near")
}

// overlaps counts pairs of nodes that lie on each other.
const overlaps = `(() => {
	const r = [...document.querySelectorAll(".gnode")].map(n => n.getBoundingClientRect());
	let n = 0;
	for (let i = 0; i < r.length; i++) for (let j = i + 1; j < r.length; j++) {
		if (r[i].left < r[j].right - 1 && r[j].left < r[i].right - 1 && r[i].top < r[j].bottom - 1 && r[j].top < r[i].bottom - 1) n++;
	}
	return n;
})()`

// TestKeyboard walks the graph without a pointer: the tab key visits the nodes from
// the callers to the called, Enter selects, Escape lets go.
func TestKeyboard(t *testing.T) {
	f := serve(t, bookinfo)
	p := open(t, f.URL)
	p.page("#/graph", `document.querySelectorAll(".gnode").length === 9`)
	if over := ask[int](p, overlaps); over > 0 {
		t.Errorf("%d pairs of nodes lie on each other", over)
	}
	ask[bool](p, `document.querySelector(".stage").focus(), true`)
	var seen []string
	for range 12 {
		p.do(chromedp.KeyEvent("\t"))
		if id := ask[string](p, `document.activeElement.dataset.node ?? ""`); id != "" {
			seen = append(seen, id)
		}
	}
	if len(seen) != 9 || seen[0] != "unknown" || seen[1] != "gateway/istio-system/istio-ingressgateway" || seen[8] != "external/mongo.example.com" {
		t.Errorf("the tab key visited %q", seen)
	}
	ask[bool](p, `document.querySelector('[data-node="app/default/details/v1"]').focus(), true`)
	p.do(chromedp.KeyEvent("\r"))
	p.until(`document.querySelector(".sidepanel h2")?.textContent === "details"`)
	p.do(chromedp.KeyEvent("\x1b"))
	p.until(`!document.querySelector(".sidepanel")`)
}
