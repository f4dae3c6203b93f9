package console

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// wizard opens a wizard for reviews.
func (p *tab) wizard(kind string) {
	p.t.Helper()
	p.page("#/services/default/reviews", `[...document.querySelectorAll(".page .menu button")].length > 0`)
	p.do(chromedp.Click(".page .menu > button"), chromedp.Click(`[data-wizard="`+kind+`"]`))
	p.until(`document.querySelector("dialog .wizard")`)
}

// written gives what a wizard would apply.
func (p *tab) written() string {
	p.t.Helper()
	p.until(`!document.querySelector("[data-apply]").disabled`)
	ask[bool](p, `[...document.querySelectorAll("dialog .segments button")].find(b => b.textContent === "YAML").click(), true`)
	p.until(`document.querySelector("dialog pre")`)
	return ask[string](p, `document.querySelector("dialog pre").textContent`)
}

// TestWizards: each wizard changes what is there and loses nothing of it.
func TestWizards(t *testing.T) {
	f := serve(t, bookinfo)
	p := open(t, f.URL)
	for _, c := range []struct {
		kind    string
		fill    string // a script
		has     []string
		without []string
	}{
		{"shift", `set("[data-weight=v3]", "20", "change")`, []string{"subset: v3\n      weight: 20", "subset: v1\n      weight: 80", "exact: jason", "- name: v3\n    labels:\n      version: v3", "simple: RANDOM"}, []string{"weight: 0"}},
		{"header", `set("dialog input[placeholder=jason]", "anna")`, []string{"exact: anna", "subset: v3", "exact: jason", "simple: RANDOM"}, nil},
		{"fault", ``, []string{"httpStatus: 503", "value: 50", "exact: jason"}, []string{"DestinationRule"}},
		{"timeout", ``, []string{"timeout: 5s", "attempts: 2", "perTryTimeout: 2s", "retryOn: 'connect-failure,refused-stream,unavailable'"}, []string{"DestinationRule"}},
		{"mirror", ``, []string{"mirror:\n      host: reviews\n      subset: v3", "mirrorPercentage:\n      value: 100", "exact: jason"}, nil},
		{"breaker", ``, []string{"maxConnections: 100", "consecutive5xxErrors: 5", "simple: RANDOM", "name: v2"}, []string{"VirtualService"}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			p := &tab{t: t, ctx: p.ctx, url: p.url}
			p.page("#/services", `document.querySelectorAll("tbody tr").length === 6`)
			p.wizard(c.kind)
			ask[bool](p, `(() => { const set = (q, v, e = "input") => { const i = document.querySelector(q); i.value = v; i.dispatchEvent(new Event(e, {bubbles: true})); }; `+c.fill+`; return true })()`)
			p.until(`!document.querySelector("[data-apply]").disabled && document.querySelector(".outcome .dest")`)
			p.shot("wizard-" + c.kind)
			text := p.written()
			for _, want := range c.has {
				if !strings.Contains(text, want) {
					t.Errorf("%q is missing in:\n%s", want, text)
				}
			}
			for _, no := range c.without {
				if strings.Contains(text, no) {
					t.Errorf("%q is in:\n%s", no, text)
				}
			}
			p.do(chromedp.Click("[data-apply]"))
			p.until(`!document.querySelector("dialog")`)
			f.mu.Lock()
			applied := f.applied[len(f.applied)-1]
			f.mu.Unlock()
			if strings.TrimSpace(applied) != strings.TrimSpace(text) {
				t.Errorf("applied is not what was shown:\n%s", applied)
			}
		})
	}
}
