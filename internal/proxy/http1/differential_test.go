package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// What we take, net/http takes too, and makes the same of it. We may be stricter,
// never laxer: these are the exceptions.
var requestsThatNetHTTPRefuses = []struct {
	why string
	is  func(data []byte, ours parsed, err error) bool
}{
	{"it takes a target apart as a URL, where an origin-form is passed on as it is", func(_ []byte, ours parsed, _ error) bool {
		_, err := url.ParseRequestURI(ours.path)
		return err != nil && ours.path != "*"
	}},
	{"it takes the authority of an absolute target apart as a URL", func(_ []byte, ours parsed, _ error) bool {
		_, err := url.Parse("http://" + ours.authority + "/")
		return err != nil
	}},
	{"it takes the target of CONNECT apart as a URL", func(_ []byte, ours parsed, _ error) bool {
		_, err := url.ParseRequestURI("http://" + ours.authority)
		return err != nil && ours.method == "CONNECT"
	}},
	{"it looks into Trailer, which announces and decides nothing", func(_ []byte, ours parsed, err error) bool {
		return ours.fields["Trailer"] != nil && strings.Contains(err.Error(), "bad trailer key")
	}},
}

var bodiesThatNetHTTPRefuses = []struct {
	why string
	is  func(ours parsed, err error) bool
}{
	{"its trailer section ends in its buffer of 4 KiB", func(ours parsed, err error) bool {
		return ours.trailers != nil && strings.Contains(err.Error(), "trailer")
	}},
	{"it counts what lies between the data of chunks, and holds it against the data", func(_ parsed, err error) bool {
		return strings.Contains(err.Error(), "chunked encoding contains too much non-data")
	}},
}

// compare holds net/http against what we took of a request.
func compare(t *testing.T, data []byte, ours parsed) {
	data = bytes.TrimPrefix(data, crlf) // ReadRequest leaves the empty line to its caller
	br := bufio.NewReader(bytes.NewReader(data))
	r, err := http.ReadRequest(br)
	if err != nil {
		for _, x := range requestsThatNetHTTPRefuses {
			if x.is(data, ours, err) {
				return
			}
		}
		t.Fatalf("we take what net/http refuses with %v: %q", err, data)
	}
	if r.Method != ours.method {
		t.Fatalf("method %q, net/http %q", ours.method, r.Method)
	}
	target := ours.path
	if ours.method == "CONNECT" {
		target = ours.authority
	}
	if abs := r.URL.IsAbs(); !abs && r.RequestURI != target || abs && !strings.HasSuffix(r.RequestURI, strings.TrimPrefix(target, "/")) {
		t.Fatalf("target %q of %q, net/http %q", ours.path, ours.authority, r.RequestURI)
	}
	if r.Host != ours.authority && ours.authority != "" {
		t.Fatalf("authority %q, net/http %q", ours.authority, r.Host)
	}
	compareFields(t, ours.fields, r.Header)
	compareBody(t, data, ours, br, r.Body, &r.Trailer)
}

// compareResponse does so for the answer to a GET.
func compareResponse(t *testing.T, data []byte, ours parsed) {
	br := bufio.NewReader(bytes.NewReader(data))
	r, err := http.ReadResponse(br, &http.Request{Method: "GET"})
	for err == nil && r.StatusCode < 200 && r.StatusCode != 101 {
		r, err = http.ReadResponse(br, &http.Request{Method: "GET"})
	}
	if err != nil {
		if strings.Contains(err.Error(), "bad trailer key") && ours.fields["Trailer"] != nil {
			return // see requests
		}
		t.Fatalf("we take what net/http refuses with %v: %q", err, data)
	}
	if r.StatusCode != ours.status {
		t.Fatalf("status %d, net/http %d", ours.status, r.StatusCode)
	}
	compareFields(t, ours.fields, r.Header)
	compareBody(t, data, ours, br, r.Body, &r.Trailer)
}

// compareFields: what we keep, it has; what it has beyond, is the connection's own.
func compareFields(t *testing.T, ours, theirs http.Header) {
	own := []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Upgrade", "Expect"} // Expect: of HTTP/1.0
	for _, list := range theirs["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			own = append(own, http.CanonicalHeaderKey(strings.Trim(name, " \t")))
		}
	}
	for name, values := range ours {
		switch name {
		case "Host", "Trailer", "Te": // it takes the first two out; of the last we keep the lines that say trailers
			continue
		}
		if !slices.Equal(values, theirs[name]) {
			t.Fatalf("%s: %q, net/http %q", name, values, theirs[name])
		}
	}
	for name := range theirs {
		pragma := name == "Cache-Control" && ours["Pragma"] != nil // it makes one of the other
		if ours[name] == nil && !pragma && !slices.Contains(own, name) {
			t.Fatalf("net/http has %s: %q, which we have not", name, theirs[name])
		}
	}
}

func compareBody(t *testing.T, data []byte, ours parsed, br *bufio.Reader, r io.Reader, trailers *http.Header) {
	body, err := io.ReadAll(r)
	if err != nil {
		for _, x := range bodiesThatNetHTTPRefuses {
			if x.is(ours, err) {
				return
			}
		}
		t.Fatalf("net/http reads the body with %v: %q", err, data)
	}
	if !bytes.Equal(body, ours.body) {
		t.Fatalf("body %q, net/http %q", ours.body, body)
	}
	for name, values := range ours.trailers {
		if !slices.Equal(values, (*trailers)[name]) {
			t.Fatalf("trailer %s: %q, net/http %q", name, values, (*trailers)[name])
		}
	}
	// A reader in memory has no errors.
	if rest, _ := io.ReadAll(br); !bytes.Equal(rest, ours.rest) {
		t.Fatalf("the next message begins at %q, for net/http at %q", ours.rest, rest)
	}
}

func fieldsOf(h *stream.Head) http.Header {
	if h == nil {
		return nil
	}
	fields := http.Header{}
	for name, value := range h.All() {
		fields.Add(string(name), string(value))
	}
	return fields
}

// corpusMessages are the bytes of one side in testdata/corpus, as seeds: what the
// scripts do besides is left out.
func corpusMessages(t testing.TB, side string) (all [][]byte) {
	t.Helper()
	files, err := filepath.Glob("testdata/corpus/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	unescape := strings.NewReplacer("\n", "", `\r`, "\r", `\n`, "\n", `\t`, "\t", `\x00`, "\x00", `\x0b`, "\x0b", `\\`, `\`)
	for _, path := range files {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Files {
			if !strings.HasSuffix(f.Name, "/"+side) || len(f.Data) > 1000 {
				continue
			}
			var b strings.Builder
			for line := range strings.Lines(string(f.Data)) {
				if !strings.HasPrefix(line, "@") {
					b.WriteString(line)
				}
			}
			all = append(all, []byte(unescape.Replace(b.String())))
		}
	}
	return all
}
