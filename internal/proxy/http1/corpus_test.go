package http1_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite what the corpus expects; read the difference before you commit it")

// TestCorpus runs testdata/corpus: odd but legal messages and illegal ones, through
// the server's codec, the router, the pool and the client's codec to an endpoint
// that follows a script, in virtual time. Every byte on both sides, the end of every
// connection and the reason of every exchange is compared.
//
// A txtar file holds the cases of one subject. The file NAME/why says what the case
// is about, the rule it follows (RFC 9112 and 9110 by section number, of 9112 where
// none is named), and what Envoy does where that differs. Its lines "option: …" set
//
//	http10                accept HTTP/1.0
//	upgrade TYPE          allow an upgrade
//	headers-timeout 10s   and so request-timeout, idle-timeout, stream-idle-timeout
//	route-timeout 10s     of the route
//
// NAME/client is what the client sends, and NAME/server what the endpoint sends, both
// in the language of wire_test.go; without the latter the endpoint answers everything
// with "ok" as soon as the proxy has no more to say. NAME/answer is what the client
// receives, NAME/endpoint what the endpoint does, NAME/reasons the exchanges that
// observers see: method, path, status, code and detail of the reason. The last three
// are written by -update. NAME/envoy are the statuses that a real Envoy answers with
// where they are not ours; the test of that is in package proxy.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/corpus/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	total := 0
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			cases := corpusCases(t, a)
			total += len(cases)
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { c.run(t) })
					if !*update {
						c.compare(t)
					}
				})
			}
			if *update {
				if err := os.WriteFile(path, corpusFormat(a.Comment, cases), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	t.Logf("%d cases", total)
}

// corpusCase is one conversation.
type corpusCase struct {
	name, why      string
	client, server string // scripts
	envoy          string // what Envoy answers, where it is different: of the test of the whole proxy
	want, got      outputs
}

// outputs are what a case is judged by, in the language of wire_test.go.
type outputs struct{ Answer, Endpoint, Reasons string }

func corpusCases(t *testing.T, a *txtar.Archive) (cases []*corpusCase) {
	t.Helper()
	byName := map[string]*corpusCase{}
	for _, f := range a.Files {
		name, part, _ := strings.Cut(f.Name, "/")
		c := byName[name]
		if c == nil {
			c = &corpusCase{name: name}
			byName[name] = c
			cases = append(cases, c)
		}
		field := map[string]*string{"why": &c.why, "client": &c.client, "server": &c.server,
			"answer": &c.want.Answer, "endpoint": &c.want.Endpoint, "reasons": &c.want.Reasons, "envoy": &c.envoy}[part]
		if field == nil || *field != "" {
			t.Fatalf("%s: unknown, or there twice", f.Name)
		}
		*field = string(f.Data)
	}
	for _, c := range cases {
		if c.why == "" || c.client == "" {
			t.Fatalf("%s has no reason or no client", c.name)
		}
	}
	return cases
}

func corpusFormat(comment []byte, cases []*corpusCase) []byte {
	a := &txtar.Archive{Comment: comment}
	for _, c := range cases {
		for _, part := range []struct{ name, text string }{{"why", c.why}, {"client", c.client}, {"server", c.server},
			{"answer", c.got.Answer}, {"endpoint", c.got.Endpoint}, {"reasons", c.got.Reasons}, {"envoy", c.envoy}} {
			if part.text != "" {
				a.Files = append(a.Files, txtar.File{Name: c.name + "/" + part.name, Data: []byte(part.text)})
			}
		}
	}
	return txtar.Format(a)
}

func (c *corpusCase) compare(t *testing.T) {
	t.Helper()
	if d := cmp.Diff(c.want, c.got); d != "" {
		t.Errorf("%s(-want +got):\n%s", c.why, d)
	}
}

// run has the conversation.
func (c *corpusCase) run(t *testing.T) {
	w := newWorld(t, c)
	client := w.connect()
	client.play(t, parseScript(t, c.client))
	w.settle()
	c.got = outputs{Answer: client.transcript(), Endpoint: w.endpoints(), Reasons: w.reasons()}
	client.end.Close()
	w.close()
	for _, part := range []*string{&c.got.Answer, &c.got.Endpoint, &c.got.Reasons} {
		if *part == "" {
			*part = "@nothing\n"
		}
	}
}

// options yields the case's settings.
func (c *corpusCase) options(yield func(name, value string) error) error {
	for line := range strings.Lines(c.why) {
		if o, ok := strings.CutPrefix(strings.TrimSpace(line), "option: "); ok {
			name, value, _ := strings.Cut(o, " ")
			if err := yield(name, value); err != nil {
				return fmt.Errorf("option %s: %w", name, err)
			}
		}
	}
	return nil
}
