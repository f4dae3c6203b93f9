package console

import (
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// pages are all pages, each with what shows that it is there.
var pages = []struct{ name, hash, ready string }{
	{"graph", "#/graph", `document.querySelectorAll(".gnode").length === 9`},
	{"graph-node", "#/graph?focus=app/default/ratings/v1", `document.querySelector(".sidepanel .chart canvas")`},
	{"graph-edge", "#/graph?focus=app/default/reviews/v2>app/default/ratings/v1/http", `document.querySelector(".sidepanel .codes")`},
	{"graph-table", "#/graph?as=table", `document.querySelectorAll(".graphmain tbody tr").length === 18`},
	{"services", "#/services", `document.querySelectorAll("tbody tr").length === 6`},
	{"service", "#/services/default/reviews", `document.querySelectorAll(".chart canvas").length === 4`},
	{"service-endpoints", "#/services/default/reviews?tab=endpoints", `document.querySelectorAll("tbody tr").length === 3`},
	{"workloads", "#/workloads", `document.querySelectorAll("tbody tr").length === 7`},
	{"workload", "#/workloads/default/reviews-v1", `document.querySelectorAll(".chart canvas").length === 5`},
	{"workload-proxies", "#/workloads/default/reviews-v1?tab=proxies", `document.body.innerText.includes("Clusters")`},
	{"gateways", "#/gateways", `document.body.innerText.includes("shop.example.com")`},
	{"config", "#/config", `document.querySelectorAll("tbody tr").length === 9`},
	{"object", "#/config/VirtualService/default/reviews", `document.querySelector(".editor textarea")`},
	{"object-shadowed", "#/config/VirtualService/default/ratings-old", `document.querySelector(".detail")`},
	{"new-object", "#/config/new", `document.querySelector(".editor textarea")`},
	{"traces", "#/traces", `document.querySelectorAll("tbody tr").length === 14`},
	{"trace", "#/traces/4bf92f3577b34da6a3ce929d0e0e4703", `document.querySelectorAll(".span").length === 8`},
	{"mesh", "#/mesh", `document.querySelectorAll(".pushrow").length === 6 && document.body.innerText.includes("refuses")`},
}

// TestPages shows every page in both themes under the console's own policy: each has
// its content, passes axe without serious findings, and asks no other host for
// anything.
func TestPages(t *testing.T) {
	f := serve(t, bookinfo)
	p := open(t, f.URL)
	axe, err := os.ReadFile("../../web/vendor/axe/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, theme := range []string{"light", "dark"} {
		p.theme(theme)
		ask[bool](p, "window.violations = [], addEventListener('securitypolicyviolation', e => violations.push(e.blockedURI + ' ' + e.violatedDirective)), addEventListener('error', e => violations.push(e.message)), addEventListener('unhandledrejection', e => violations.push(String(e.reason))), true")
		ask[bool](p, string(axe)+"; true")
		for _, page := range pages {
			t.Run(theme+"/"+page.name, func(t *testing.T) {
				p := &tab{t: t, ctx: p.ctx, url: p.url}
				p.page(page.hash, page.ready)
				p.shot(page.name + "-" + theme)
				p.audit(theme == "dark") // what is not colour is the same in both
			})
		}
		for _, v := range ask[[]string](p, "violations") {
			t.Errorf("%s: %s", theme, v)
		}
	}
	for _, r := range p.foreign() {
		t.Errorf("a request went to %s", r)
	}
}

// audit runs axe on the page.
func (p *tab) audit(colours bool) {
	p.t.Helper()
	options := `{resultTypes: ["violations"]}`
	if colours {
		options = `{resultTypes: ["violations"], runOnly: {type: "rule", values: ["color-contrast"]}}`
	}
	found := ask[[]string](p, `axe.run(document, `+options+`).then(r => r.violations.filter(v => ["serious", "critical"].includes(v.impact)).flatMap(v => v.nodes.slice(0, 3).map(n => v.id + ": " + v.help + ": " + n.html.slice(0, 160) + " " + (n.any[0]?.message ?? ""))))`)
	for _, v := range found {
		p.t.Errorf("axe: %s", v)
	}
}

// TestFilters types expressions into the graph's boxes.
func TestFilters(t *testing.T) {
	f := serve(t, bookinfo)
	p := open(t, f.URL)
	p.page("#/graph", `document.querySelectorAll(".gnode").length === 9`)
	nodes := func() int { return ask[int](p, `document.querySelectorAll(".gnode").length`) }
	bright := func() string {
		return ask[string](p, `[...document.querySelectorAll(".gnode:not(.dim)")].map(n => n.dataset.node.split("/").slice(2).join("/") || n.dataset.node).sort().join(" ")`)
	}
	for _, c := range []struct{ hide, left string }{
		{"version = v2", "8"}, {"kind = external or kind = unknown", "7"}, {"app in (reviews, ratings)", "5"}, {"not ns = default", "6"},
		{`name ~ ^re and not version = v1`, "7"}, {"failing", "8"}, {"unknown || gateway", "7"},
	} {
		p.page("#/graph?hide="+escape(c.hide), `document.querySelectorAll(".gnode").length > 0`)
		p.until(`document.querySelectorAll(".gnode").length === ` + c.left)
	}
	p.page("#/graph?hide=tcp", `document.querySelectorAll(".gedge").length === 8`)
	if n := nodes(); n != 9 {
		t.Errorf("hiding TCP edges left %d nodes, want 9", n)
	}
	p.page("#/graph?find="+escape("errors >= 10% and http"), `document.querySelectorAll(".gnode.dim").length > 0`)
	if got, want := bright(), "ratings/v1 reviews/v2 reviews/v3"; got != want {
		t.Errorf("found %q, want %q", got, want)
	}
	for _, wrong := range []string{"errors >", "(rate > 1", "bogus = 1", "rate > many", "name ~ ["} {
		p.page("#/graph?find="+escape(wrong), `document.querySelector(".problem")`)
	}
}

func escape(s string) string {
	return strings.NewReplacer(" ", "%20", "%", "%25", ">", "%3E", "=", "%3D", "+", "%2B", "&", "%26", "#", "%23", "(", "%28", "[", "%5B").Replace(s)
}

// TestEditor types a mistake: its line is marked and it cannot be applied; mended, the
// difference is shown, and what is applied is the text.
func TestEditor(t *testing.T) {
	f := serve(t, bookinfo)
	p := open(t, f.URL)
	p.page("#/config/VirtualService/default/reviews", `document.querySelector(".editor textarea")`)
	write := func(old, new string) {
		ask[bool](p, `(() => { const a = document.querySelector(".editor textarea"); a.value = a.value.replace(`+quote(old)+`, `+quote(new)+`); a.dispatchEvent(new Event("input", {bubbles: true})); return true })()`)
	}
	write("subset: v1\n", "subset: v1\n      wieght: 10\n")
	p.until(`document.querySelector(".gutter .bad")?.textContent === "23"`)
	p.shot("editor-mistake")
	if !ask[bool](p, `document.querySelector(".workbench .primary").disabled`) {
		t.Error("a text with a mistake can be applied")
	}
	write("wieght", "weight")
	p.until(`!document.querySelector(".workbench .primary").disabled`)
	p.do(chromedp.Click(".workbench .primary"))
	p.until(`document.querySelectorAll("dialog .diff .add").length === 1`)
	p.shot("editor-review")
	p.do(chromedp.Click("dialog footer .primary"))
	p.until(`document.querySelector(".toast.ok")`)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.applied) != 1 || !strings.Contains(f.applied[0], "weight: 10") {
		t.Errorf("applied %q", f.applied)
	}
}

func quote(s string) string { return "`" + s + "`" }
