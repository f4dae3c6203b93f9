package proxy_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
)

// attack is a message of which two programs may think differently. MARK in it becomes
// a word of its own for each run. The hidden request, if there is one, is for a target
// with "hidden": whoever sees it must have been handed it as a request.
type attack struct{ name, raw string }

const hidden = "GET /hidden-MARK HTTP/1.1\r\nHost: a\r\n\r\n"

// post is a request with fields between its Host and its content.
func post(fields, content string) string {
	return "POST /MARK HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" + content
}

func sized(format string, content string) string { return fmt.Sprintf(format, len(content)) }

// attacks are the published families, by their names in the literature.
func attacks() []attack {
	tail := "0\r\n\r\n" + hidden
	var all []attack
	add := func(name, raw string) { all = append(all, attack{name, raw}) }
	add("none", post("", "")+hidden)
	add("none, with a body", post("Content-Length: 3\r\n", "abc")+hidden)
	add("none, chunked", post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n")+hidden)
	add("CL.TE", post(sized("Content-Length: %d\r\n", tail)+"Transfer-Encoding: chunked\r\n", tail))
	add("TE.CL", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)))
	add("CL.0", post(sized("Content-Length: %d\r\n", hidden), hidden))
	add("0.CL", "GET /MARK HTTP/1.1\r\nHost: a\r\n"+sized("Content-Length: %d\r\n\r\n", hidden)+hidden)
	add("0.CL, spaced", post(sized("Content-Length : %d\r\n", hidden), hidden))
	add("0.CL, folded", post(sized("Content-Length:\r\n %d\r\n", hidden), hidden))
	add("0.CL, tab", post(sized("Content-Length:\t%d\r\n", hidden), hidden))
	add("CL.CL", post(sized("Content-Length: 0\r\nContent-Length: %d\r\n", hidden), hidden))
	add("CL.CL in a list", post(sized("Content-Length: 0, %d\r\n", hidden), hidden))
	add("CL with a sign", post(sized("Content-Length: +%d\r\n", hidden), hidden))
	add("CL in hex", post(sized("Content-Length: 0x%x\r\n", hidden), hidden))
	add("CL in octal", post(sized("Content-Length: 0%o\r\n", hidden), hidden))
	add("CL that overflows", post("Content-Length: 18446744073709551616\r\n", hidden))
	add("CL with a separator", post("Content-Length: 1_0\r\n", hidden))
	for name, coding := range map[string]string{
		"case": "Transfer-Encoding: cHuNkEd", "x": "Transfer-Encoding: xchunked", "space before the colon": "Transfer-Encoding : chunked",
		"tab before the colon": "Transfer-Encoding\t: chunked", "twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "twice, other way": "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
		"list": "Transfer-Encoding: chunked, identity", "list, other way": "Transfer-Encoding: identity, chunked", "vertical tab": "Transfer-Encoding: \x0bchunked",
		"behind a tab": "Transfer-Encoding:\tchunked", "no space": "Transfer-Encoding:chunked", "fold": "Transfer-Encoding:\r\n chunked", "fold with a tab": "Transfer-Encoding:\r\n\tchunked",
		"hidden in another": "X: x\nTransfer-Encoding: chunked", "behind a CR": "X: x\rTransfer-Encoding: chunked", "first field": " Transfer-Encoding: chunked", "quotes": "Transfer-Encoding: \"chunked\"",
		"comma": "Transfer-Encoding: ,chunked", "comma behind": "Transfer-Encoding: chunked,", "NUL": "Transfer-Encoding: chunked\x00", "underscore": "Transfer_Encoding: chunked",
		"semicolon": "Transfer-Encoding: chunked;", "non-ASCII": "Transfer-Encoding: \xefchunked", "wide": "Transfer-Encoding\xa0: chunked", "named by Connection": "Connection: transfer-encoding\r\nTransfer-Encoding: chunked",
		"CR before": "\rTransfer-Encoding: chunked", "empty": "Transfer-Encoding:\r\nTransfer-Encoding: chunked",
	} {
		add("TE.TE "+name, post(coding+"\r\n"+sized("Content-Length: %d\r\n", tail), tail))
		add("TE.0 "+name, post(coding+"\r\n", tail))
	}
	for name, content := range map[string]string{
		"TERM.EXT":            "2;\nxx\r\n" + fmt.Sprintf("%x", len(hidden)+7) + "\r\n0\r\n\r\n" + hidden + "\r\n0\r\n\r\n",
		"EXT.TERM":            "2;\rxx\r\n0\r\n\r\n" + hidden,
		"bare LF":             "3\nabc\n0\n\n" + hidden,
		"bare CR":             "3\rabc\r0\r\r" + hidden,
		"spill":               "3\r\nabcXX0\r\n\r\n" + hidden,
		"one byte more":       "3\r\nabcX\r\n0\r\n\r\n" + hidden,
		"size and space":      "3 \r\nabc\r\n0\r\n\r\n" + hidden,
		"size and NUL":        "3\x00\r\nabc\r\n0\r\n\r\n" + hidden,
		"size 0x":             "0x3\r\nabc\r\n0\r\n\r\n" + hidden,
		"size that wraps":     "10000000000000003\r\nabc\r\n0\r\n\r\n" + hidden,
		"size with a sign":    "-0\r\n\r\n" + hidden,
		"size empty":          "\r\n\r\n" + hidden,
		"no empty line":       "0\r\n" + hidden,
		"LF at the end":       "0\r\n\n" + hidden,
		"CR at the end":       "0\r\n\r" + hidden,
		"length in trailers":  "0\r\nContent-Length: 5\r\n\r\n" + hidden,
		"coding in trailers":  "0\r\nTransfer-Encoding: chunked\r\n\r\n" + hidden,
		"quoted line end":     "3;a=\"\r\n" + "abc\r\n0\r\n\r\n\"\r\n" + hidden,
		"extension long":      "3;" + strings.Repeat("a", 5000) + "\r\nabc\r\n0\r\n\r\n" + hidden,
		"two zeros":           "00\r\n\r\n" + hidden,
		"trailer then hidden": "0\r\nX: y\r\n\r\n" + hidden,
	} {
		add("chunk "+name, post("Transfer-Encoding: chunked\r\n", content))
	}
	for name, line := range map[string]string{
		"absolute": "GET http://b/MARK HTTP/1.1\r\nHost: a", "userinfo": "GET http://a@b/MARK HTTP/1.1\r\nHost: a", "two hosts": "GET /MARK HTTP/1.1\r\nHost: a\r\nHost: b",
		"host with a path": "GET /MARK HTTP/1.1\r\nHost: a/../hidden-MARK", "host with a question": "GET /MARK HTTP/1.1\r\nHost: a?b", "host with CR": "GET /MARK HTTP/1.1\r\nHost: a\rb",
		"spaced host": "GET /MARK HTTP/1.1\r\nHost : a\r\nHost: b", "line in the target": "GET /MARK\rGET /hidden-MARK HTTP/1.1\r\nHost: a", "two versions": "GET /MARK HTTP/1.1 HTTP/1.1\r\nHost: a",
		"0.9 in the middle": "GET /MARK\r\nHost: a", "version 1.0 chunked": "POST /MARK HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked", "upgrade": "GET /MARK HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket",
		"upgrade h2c": "GET /MARK HTTP/1.1\r\nHost: a\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "expect": "POST /MARK HTTP/1.1\r\nHost: a\r\nExpect: 100-continue",
		"expect, odd": "POST /MARK HTTP/1.1\r\nHost: a\r\nExpect: 100-continue x\r\nContent-Length: 0", "HEAD": "HEAD /MARK HTTP/1.1\r\nHost: a", "connect": "CONNECT MARK:80 HTTP/1.1\r\nHost: a",
	} {
		add("line "+name, line+"\r\n\r\n"+hidden)
	}
	return all
}

// attacksInHTTP2 are attacks over HTTP/2: fields of a request, and its content.
func attacksInHTTP2() []attack {
	var all []attack
	add := func(name, content string, more ...string) {
		base := []string{":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/MARK"}
		for i := 0; i < len(more); i += 2 {
			if at := slices.Index(base, more[i]); at >= 0 && strings.HasPrefix(more[i], ":") {
				base[at+1] = more[i+1]
			} else {
				base = append(base, more[i], more[i+1])
			}
		}
		all = append(all, attack{name, inHTTP2(content, base...)})
	}
	inject := "\r\n\r\n" + hidden
	add("H2 none", "abc")
	add("H2.CL", hidden, "content-length", "0")
	add("H2.CL short", hidden, "content-length", "3")
	add("H2.CL long", "abc", "content-length", "300")
	add("H2.CL twice", hidden, "content-length", fmt.Sprint(len(hidden)-4), "content-length", "0")
	add("H2.TE", "0\r\n\r\n"+hidden, "transfer-encoding", "chunked")
	add("H2.TE in a value", "0\r\n\r\n"+hidden, "x", "y\r\nTransfer-Encoding: chunked")
	add("H2.TE in a value, LF", "0\r\n\r\n"+hidden, "x", "y\ntransfer-encoding: chunked")
	add("H2.TE in a name", "0\r\n\r\n"+hidden, "x: y\r\ntransfer-encoding", "chunked")
	add("H2.TE with a colon", "0\r\n\r\n"+hidden, "transfer-encoding: chunked\r\nx", "y")
	add("H2 request in a value", "", "x", "y"+inject)
	add("H2 request in a value, NUL", "", "x", "y\x00"+inject)
	add("H2 request in a name", "", "x"+inject, "y")
	add("H2 request in :path", "", ":path", "/MARK HTTP/1.1"+inject)
	add("H2 space in :path", "", ":path", "/MARK HTTP/1.1 x")
	add("H2 tab in :path", "", ":path", "/MARK\tx")
	add("H2 relative :path", "", ":path", "hidden-MARK")
	add("H2 absolute :path", "", ":path", "http://b/MARK")
	add("H2 request in :method", "", ":method", "GET /hidden-MARK HTTP/1.1\r\nHost: a\r\n\r\nGET")
	add("H2 space in :method", "", ":method", "GET /hidden-MARK")
	add("H2 request in :authority", "", ":authority", "a"+inject)
	add("H2 userinfo in :authority", "", ":authority", "u@a")
	add("H2 path in :authority", "", ":authority", "a/hidden-MARK")
	add("H2 request in :scheme", "", ":scheme", "http"+inject)
	add("H2 path in :scheme", "", ":scheme", "http://hidden/?")
	add("H2 two :path", "", ":path", "/MARK", "host", "b", "x-a", "1", ":path2", "/hidden-MARK")
	add("H2 host differs", "", "host", "b")
	add("H2 two hosts", "", "host", "a", "host", "b")
	add("H2 connection", "", "connection", "transfer-encoding")
	add("H2 upgrade", "", "upgrade", "websocket")
	add("H2 te", "", "te", "chunked")
	add("H2 upper case", "0\r\n\r\n"+hidden, "Transfer-Encoding", "chunked")
	add("H2 space at the end of a name", "0\r\n\r\n"+hidden, "transfer-encoding ", "chunked")
	add("H2 GET with a body", hidden, ":method", "GET")
	add("H2 HEAD with a body", hidden, ":method", "HEAD")
	add("H2 CONNECT", hidden, ":method", "CONNECT")
	add("H2 expect", hidden, "expect", "100-continue")
	add("H2 cookie", "", "cookie", "a=b", "cookie", "c=d\r\nx: y")
	return all
}

// inHTTP2 is a client's connection with one request. MARK would change lengths in the
// blocks: marks are as long as it.
func inHTTP2(content string, fields ...string) string {
	var b bytes.Buffer
	b.WriteString(xhttp2.ClientPreface)
	fr := xhttp2.NewFramer(&b, nil)
	// A buffer has no errors.
	_ = fr.WriteSettings()
	_ = fr.WriteRawFrame(xhttp2.FrameHeaders, xhttp2.FlagHeadersEndHeaders, 1, literal(fields))
	_ = fr.WriteData(1, true, []byte(content))
	return b.String()
}

// literal writes fields without Huffman codes, in which MARK could not be found.
func literal(fields []string) (b []byte) {
	str := func(s string) {
		b = appendPrefixed(b, len(s))
		b = append(b, s...)
	}
	for i := 0; i < len(fields); i += 2 {
		b = append(b, 0x10)
		str(fields[i])
		str(fields[i+1])
	}
	return b
}

// appendPrefixed appends an integer with a prefix of seven bits (RFC 7541 §5.1).
func appendPrefixed(b []byte, n int) []byte {
	if n < 127 {
		return append(b, byte(n))
	}
	b = append(b, 127)
	for n -= 127; n >= 128; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// TestSmuggling sends the attacks through the proxy to real servers, and through real
// proxies to it. What the last server sees, the proxy under test has passed on as a
// request of its own: no more, nor in another order.
func TestSmuggling(t *testing.T) {
	for _, tt := range []struct {
		name   string
		behind func(testing.TB, netip.AddrPort) netip.AddrPort // between the proxy and the recorder
		front  func(testing.TB, netip.AddrPort) netip.AddrPort // before the proxy
	}{
		{"to net/http", nil, nil},
		{"to nginx", nginxTo, nil}, {"to haproxy", haproxyTo, nil}, {"to envoy", envoyTo, nil},
		{"from nginx", nil, nginxTo}, {"from haproxy", nil, haproxyTo}, {"from envoy", nil, envoyTo},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRecorder(t)
			to := r.addr
			if tt.behind != nil {
				to = tt.behind(t, to)
			}
			s := plainSidecar(t, to)
			from := s.addr("plain")
			if tt.front != nil {
				from = tt.front(t, from)
			}
			list := attacks()
			if tt.front == nil || tt.name == "from envoy" { // who speaks HTTP/2 to clients
				list = append(list, attacksInHTTP2()...)
			}
			smuggle(t, &way{s: s, r: r, to: from, filtered: tt.behind != nil, spread: tt.front != nil}, list)
		})
	}
}

// way is what the attacks take.
type way struct {
	s  *sidecar
	r  *recorder
	to netip.AddrPort
	// filtered: somebody behind the proxy may refuse what it passes on. spread: somebody
	// before it may use several connections, which have no order among them.
	filtered, spread bool
}

// smuggle sends the attacks, a few at a time.
func smuggle(t *testing.T, w *way, list []attack) {
	gate := make(chan struct{}, 16)
	var wg sync.WaitGroup
	answers := make([]string, len(list))
	for i, a := range list {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			answers[i] = w.send(t, a, mark(i), 200*time.Millisecond)
		})
	}
	wg.Wait()
	passed := 0
	for i, a := range list {
		n, why := w.judge(a, mark(i), answers[i])
		if why != "" { // was it only slow?
			again := w.send(t, a, mark(500+i), 2*time.Second)
			time.Sleep(300 * time.Millisecond) // the log is written in batches
			n, why = w.judge(a, mark(500+i), again)
		}
		if passed += n; why != "" {
			t.Errorf("%s: %s\nsent %q\ngot %q", a.name, why, a.raw, answers[i])
		}
	}
	if passed < 10 {
		t.Errorf("only %d requests came through: the test tests nothing", passed)
	}
	t.Logf("%d attacks, %d requests came through", len(list), passed)
}

// mark is as long as MARK.
func mark(i int) string { return fmt.Sprintf("m%03d", i) }

func (w *way) send(t *testing.T, a attack, mark string, silence time.Duration) string {
	return send(t, w.to, []byte(strings.ReplaceAll(a.raw, "MARK", mark)), silence)
}

var finalAnswer = regexp.MustCompile(`HTTP/1\.[01] [2-5][0-9][0-9] `)

// judge says how many requests the last server saw, and what is wrong with them: they
// are those that the proxy passed on, and each of them was answered to the client. An
// answer that somebody else gets is what smuggling is about.
func (w *way) judge(a attack, mark, answer string) (n int, why string) {
	ours := w.s.forwarded(mark)
	var theirs []string
	whole := 0
	for _, x := range w.r.with(mark) {
		theirs = append(theirs, x.method+" "+x.target)
		if x.whole {
			whole++
		}
	}
	if w.spread {
		slices.Sort(ours)
		slices.Sort(theirs)
	}
	if !slices.Equal(ours, theirs) && !(w.filtered && isPart(theirs, ours)) {
		return len(theirs), fmt.Sprintf("the proxy passed on %q, the server saw %q", ours, theirs)
	}
	if got := len(finalAnswer.FindAllString(answer, -1)); got < whole && !strings.HasPrefix(a.raw, "PRI") {
		return len(theirs), fmt.Sprintf("the server saw %q, the client got %d answers", theirs, got)
	}
	return len(theirs), ""
}

// isPart reports whether few is what is left of all when some are taken out.
func isPart(few, all []string) bool {
	for _, x := range all {
		if len(few) > 0 && few[0] == x {
			few = few[1:]
		}
	}
	return len(few) == 0
}
