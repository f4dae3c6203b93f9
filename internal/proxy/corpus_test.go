package proxy_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestCorpusAgainstEnvoy sends the corpus of the HTTP/1.1 codec to a real Envoy: where
// the statuses that it answers with differ from ours, NAME/envoy holds them (written with -update-envoy).
func TestCorpusAgainstEnvoy(t *testing.T) {
	to := envoyTo(t, newRecorder(t).addr)
	files, err := filepath.Glob("http1/testdata/corpus/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	gate := make(chan struct{}, 32)
	for _, path := range files {
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := map[string]string{} // guarded by mu
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		cases := map[string]map[string]string{}
		for _, f := range a.Files {
			name, part, _ := strings.Cut(f.Name, "/")
			if cases[name] == nil {
				cases[name] = map[string]string{}
			}
			cases[name][part] = string(f.Data)
		}
		for name, c := range cases {
			// What an endpoint has a part in, or a time, is not the same there.
			if c["server"] != "" || strings.Contains(c["client"], "@") || strings.Contains(c["why"], "option:") {
				continue
			}
			gate <- struct{}{}
			wg.Go(func() {
				defer func() { <-gate }()
				ours := statuses(c["answer"])
				theirs := statuses(send(t, to, []byte(unescape(c["client"])), 400*time.Millisecond))
				if theirs == ours {
					theirs = ""
				}
				mu.Lock()
				defer mu.Unlock()
				got[name] = theirs
			})
		}
		wg.Wait()
		if *updateEnvoy {
			rewriteEnvoy(t, path, a, got)
			continue
		}
		for name, theirs := range got {
			if noted := strings.TrimSpace(cases[name]["envoy"]); noted != theirs {
				t.Errorf("%s/%s: Envoy answers %q, noted is %q", filepath.Base(path), name, theirs, noted)
			}
		}
	}
}

// rewriteEnvoy notes what Envoy answered in a file NAME/envoy behind each case.
func rewriteEnvoy(t *testing.T, path string, a *txtar.Archive, got map[string]string) {
	t.Helper()
	var files []txtar.File
	for i, f := range a.Files {
		name, part, _ := strings.Cut(f.Name, "/")
		if part == "envoy" {
			continue
		}
		files = append(files, f)
		last := i+1 == len(a.Files) || !strings.HasPrefix(a.Files[i+1].Name, name+"/") || a.Files[i+1].Name == name+"/envoy"
		if theirs := got[name]; theirs != "" && last {
			files = append(files, txtar.File{Name: name + "/envoy", Data: []byte(theirs + "\n")})
		}
	}
	a.Files = files
	if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

var updateEnvoy = flag.Bool("update-envoy", false, "note anew what Envoy answers to the corpus of HTTP/1.1")

var statusOf = regexp.MustCompile(`HTTP/1\.[01] ([0-9]{3}) `)

func statuses(answer string) string {
	var list []string
	for _, m := range statusOf.FindAllStringSubmatch(answer, -1) {
		list = append(list, m[1])
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, " ")
}

var escapes = regexp.MustCompile(`\\(\{([0-9]+) ([^}]*)\}|x([0-9a-f]{2})|[rnt\\])|\n`)

// unescape reads the bytes in the language of the corpus.
func unescape(text string) string {
	return escapes.ReplaceAllStringFunc(text, func(e string) string {
		m := escapes.FindStringSubmatch(e)
		switch {
		case e == "\n":
			return ""
		case m[2] != "":
			n, err := strconv.Atoi(m[2])
			if err != nil {
				panic(err)
			}
			return strings.Repeat(unescape(m[3]), n)
		case m[4] != "":
			n, err := strconv.ParseUint(m[4], 16, 8)
			if err != nil {
				panic(err)
			}
			return string([]byte{byte(n)})
		}
		return map[string]string{`\r`: "\r", `\n`: "\n", `\t`: "\t", `\\`: `\`}[e]
	})
}
