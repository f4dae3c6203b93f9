package http1

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// smuggling holds messages that two programs may read differently. up is what
// goes to the endpoint, byte for byte; status is the answer where nothing may go.
// lax says why net/http decides otherwise; "" means that it agrees.
var smuggling = []struct {
	name, in string
	up       string
	status   int
	lax      string
}{
	{name: "plain", in: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", up: "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "two pipelined", in: "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", up: "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "get with body", in: "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", up: "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"},
	{name: "leading zeros in length", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 003\r\n\r\nabc", up: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 003\r\n\r\nabc"},
	{name: "chunked", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", up: "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	{name: "extension is dropped", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y z\"\r\nabc\r\n0;l\r\n\r\n", up: "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	{name: "leading zeros in chunk size", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0003\r\nabc\r\n00\r\n\r\n", up: "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	{name: "absolute target wins", in: "GET http://b/p HTTP/1.1\r\nHost: a\r\n\r\n", up: "GET /p HTTP/1.1\r\nHost: b\r\n\r\n"},
	{name: "obs-text in value", in: "GET / HTTP/1.1\r\nHost: a\r\nX: \xe4\r\n\r\n", up: "GET / HTTP/1.1\r\nHost: a\r\nX: \xe4\r\n\r\n"},
	{name: "tab in value", in: "GET / HTTP/1.1\r\nHost: a\r\nX:\ta\tb\t\r\n\r\n", up: "GET / HTTP/1.1\r\nHost: a\r\nX:\ta\tb\t\r\n\r\n"},
	{name: "connection's own go", in: "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-y\r\nX-Y: 1\r\nKeep-Alive: 1\r\n\r\n", up: "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "empty line first", in: "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", up: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", lax: "ReadRequest expects its caller to skip it"},

	{name: "length and coding", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", status: 400, lax: "coding wins"},
	{name: "coding and length", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG", status: 400, lax: "coding wins"},
	{name: "two lengths", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", status: 400},
	{name: "two equal lengths", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", status: 400, lax: "equal ones are merged"},
	{name: "list of lengths", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", status: 400},
	{name: "length with sign", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", status: 400},
	{name: "negative length", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", status: 400},
	{name: "hex length", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", status: 400},
	{name: "empty length", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nabc", status: 400},
	{name: "length with space", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 3\r\n\r\nabc", status: 400},
	{name: "length with point", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3.0\r\n\r\nabc", status: 400},
	{name: "length too large", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\nabc", status: 400},
	{name: "length with underscore", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\nabc", status: 400},
	{name: "two codings", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400},
	{name: "chunked then identity", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", status: 400},
	{name: "identity then chunked", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400},
	{name: "list of codings", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", status: 501},
	{name: "chunked twice", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", status: 501},
	{name: "chunked not last", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", status: 400},
	{name: "identity", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", status: 400},
	{name: "coding with x", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", status: 400},
	{name: "coding with parameter", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", status: 400},
	{name: "coding in quotes", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", status: 400},
	{name: "coding with vertical tab", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", status: 400},
	{name: "empty coding", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", status: 400},
	{name: "coding in http/1.0", in: "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, lax: "taken"},
	{name: "space before colon", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc", status: 400, lax: "a field of another name; its server refuses it"},
	{name: "tab before colon", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", status: 400},
	{name: "folded line", in: "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", status: 400, lax: "joined"},
	{name: "folded coding", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", status: 400, lax: "joined"},
	{name: "first line folded", in: "GET / HTTP/1.1\r\n Host: a\r\n\r\n", status: 400},
	{name: "tab fold", in: "GET / HTTP/1.1\r\nHost: a\r\n\tX: 1\r\n\r\n", status: 400, lax: "joined"},
	{name: "bare CR in value", in: "GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", status: 400},
	{name: "bare CR ends line", in: "GET / HTTP/1.1\r\nHost: a\rX: 1\r\n\r\n", status: 400},
	{name: "bare LF ends line", in: "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", status: 400, lax: "LF is a line end"},
	{name: "bare LF everywhere", in: "GET / HTTP/1.1\nHost: a\n\n", status: 400, lax: "LF is a line end"},
	{name: "bare LF at the end", in: "GET / HTTP/1.1\r\nHost: a\r\n\n", status: 400, lax: "LF is a line end"},
	{name: "bare CR in request line", in: "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", status: 400},
	{name: "NUL in value", in: "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", status: 400},
	{name: "NUL in name", in: "GET / HTTP/1.1\r\nHost: a\r\nX\x00: a\r\n\r\n", status: 400},
	{name: "NUL in target", in: "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", status: 400},
	{name: "DEL in value", in: "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", status: 400},
	{name: "leading space", in: " GET / HTTP/1.1\r\nHost: a\r\n\r\n", status: 400},
	{name: "leading tab", in: "\tGET / HTTP/1.1\r\nHost: a\r\n\r\n", status: 400},
	{name: "space in target", in: "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", status: 400},
	{name: "two spaces", in: "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", status: 400},
	{name: "tab as separator", in: "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", status: 400},
	{name: "space after version", in: "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", status: 400},
	{name: "no version", in: "GET /\r\nHost: a\r\n\r\n", status: 400},
	{name: "lower-case version", in: "GET / http/1.1\r\nHost: a\r\n\r\n", status: 400},
	{name: "long version", in: "GET / HTTP/1.10\r\nHost: a\r\n\r\n", status: 400},
	{name: "version 1.2", in: "GET / HTTP/1.2\r\nHost: a\r\n\r\n", status: 505, lax: "ReadRequest leaves it to the server"},
	{name: "version 0.9", in: "GET / HTTP/0.9\r\nHost: a\r\n\r\n", status: 505, lax: "ReadRequest leaves it to the server"},
	{name: "http/2 preface", in: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: 505, lax: "ReadRequest leaves it to the server"},
	{name: "bad method", in: "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", status: 400},
	{name: "no name", in: "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", status: 400},
	{name: "no colon", in: "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", status: 400},
	{name: "quote in name", in: "GET / HTTP/1.1\r\nHost: a\r\nX\"Y: 1\r\n\r\n", status: 400},
	{name: "no host", in: "GET / HTTP/1.1\r\nX: a\r\n\r\n", status: 400, lax: "ReadRequest leaves it to the server"},
	{name: "two hosts", in: "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", status: 400},
	{name: "two equal hosts", in: "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", status: 400},
	{name: "list in host", in: "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", status: 400, lax: "ReadRequest leaves it to the server"},
	{name: "path in host", in: "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", status: 400, lax: "ReadRequest leaves it to the server"},
	{name: "user in host", in: "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", status: 400, lax: "ReadRequest leaves it to the server"},
	{name: "user in absolute target", in: "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", status: 400, lax: "taken"},
	{name: "target without slash", in: "GET a HTTP/1.1\r\nHost: a\r\n\r\n", status: 400},
	{name: "other scheme", in: "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", status: 400, lax: "taken"},
	{name: "fragment", in: "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", status: 400, lax: "taken"},
	{name: "star for get", in: "GET * HTTP/1.1\r\nHost: a\r\n\r\n", status: 400, lax: "taken"},
	{name: "connect with body", in: "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", status: 400, lax: "taken"},
	{name: "connection names host", in: "GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", status: 400, lax: "not looked at"},
	{name: "connection names length", in: "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nabc", status: 400, lax: "not looked at"},
	{name: "connection names authorization", in: "GET / HTTP/1.1\r\nHost: a\r\nConnection: authorization\r\n\r\n", status: 400, lax: "not looked at"},
	{name: "connection names forwarded-for", in: "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Forwarded-For\r\n\r\n", status: 400, lax: "not looked at"},

	{name: "chunk size with sign", in: chunkedMessage("+3\r\nabc\r\n0\r\n\r\n"), status: 400},
	{name: "chunk size in 0x", in: chunkedMessage("0x3\r\nabc\r\n0\r\n\r\n"), status: 400},
	{name: "empty chunk size", in: chunkedMessage("\r\nabc\r\n0\r\n\r\n"), status: 400},
	{name: "chunk size too large", in: chunkedMessage("10000000000000003\r\nabc\r\n0\r\n\r\n"), status: 400},
	{name: "chunk size then space", in: chunkedMessage("3 \r\nabc\r\n0\r\n\r\n"), status: 400, lax: "white space is trimmed"},
	{name: "space then chunk size", in: chunkedMessage(" 3\r\nabc\r\n0\r\n\r\n"), status: 400},
	{name: "chunk size with bare LF", in: chunkedMessage("3\nabc\r\n0\r\n\r\n"), status: 400},
	{name: "chunk size with bare CR", in: chunkedMessage("3\rabc\r\n0\r\n\r\n"), status: 400},
	{name: "bare LF in extension", in: chunkedMessage("3;a\nabc\r\n0\r\n\r\n"), status: 400},
	{name: "control in extension", in: chunkedMessage("3;\x01\r\nabc\r\n0\r\n\r\n"), status: 400, lax: "not looked at"},
	{name: "long extension", in: chunkedMessage("3;" + strings.Repeat("a", 300) + "\r\nabc\r\n0\r\n\r\n"), status: 400, lax: "its limit is larger"},
	{name: "chunk too long", in: chunkedMessage("3\r\nabcd\r\n0\r\n\r\n"), status: 400},
	{name: "chunk ended by LF", in: chunkedMessage("3\r\nabc\n0\r\n\r\n"), status: 400},
	{name: "length in trailers", in: chunkedMessage("0\r\nContent-Length: 3\r\n\r\n"), status: 400, lax: "not looked at"},
	{name: "bare LF in trailers", in: chunkedMessage("0\r\nX: 1\n\r\n"), status: 400},
	{name: "folded trailer", in: chunkedMessage("0\r\nX: 1\r\n 2\r\n\r\n"), status: 400, lax: "joined"},
}

func chunkedMessage(body string) string {
	return "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body
}

// refused is the whole answer to a message that is not served.
func refused(status int) string {
	text := statusText(status)
	return fmt.Sprintf("HTTP/1.1 %d %s\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s", status, text, len(text), text)
}

func TestSmuggling(t *testing.T) {
	if len(smuggling) < 60 {
		t.Fatalf("only %d messages", len(smuggling))
	}
	for _, tt := range smuggling {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up, down := passThrough(t, tt.in)
				if tt.status == 0 {
					if up != tt.up {
						t.Errorf("endpoint got %q\nwant         %q", up, tt.up)
					}
					if strings.Contains(down, " 400 ") {
						t.Errorf("client got %q", down)
					}
					return
				}
				want := refused(tt.status)
				if strings.HasPrefix(tt.in, "POST / HTTP/1.0") {
					want = strings.Replace(want, "HTTP/1.1", "HTTP/1.0", 1)
				}
				if down != want {
					t.Errorf("client got %q\nwant       %q", down, want)
				}
				if strings.Count(up, "HTTP/1.1\r\n") > 1 || strings.HasSuffix(up, "0\r\n\r\n") {
					t.Errorf("endpoint got a whole message: %q", up)
				}
			})
		})
	}
}

// passThrough sends in through a server and a client codec, and returns what the
// endpoint and the client got.
func passThrough(t *testing.T, in string) (up, down string) {
	t.Helper()
	near, far := pipe.New()
	h := func(s *stream.Stream) (*stream.Response, error) {
		c := NewClientConn(near, ClientOptions{})
		x, err := c.Open(s)
		if err != nil {
			return nil, err
		}
		r := &s.Request
		if err := x.Send(r, nil, r.Body == nil); err != nil {
			return nil, err
		}
		for r.Body != nil {
			p, err := r.Body.Next()
			if err == io.EOF {
				err = x.Trailers(r.Body.Trailers())
				if err != nil {
					return nil, err
				}
				break
			}
			if err != nil {
				return nil, err
			}
			if err := x.Write(p, false); err != nil {
				return nil, err
			}
		}
		return text(200, ""), nil
	}
	s := serve(t, ServerOptions{HTTP10: true}, h)
	if _, err := s.client.Write([]byte(in)); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return pending(t, far), pending(t, s.client)
}

// pending reads what is there.
func pending(t *testing.T, e *pipe.End) string {
	t.Helper()
	if err := e.SetReadDeadline(pastSoon()); err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(e)
	return string(b)
}

// net/http decides as we do, but where the table says why not.
func TestSmugglingAgainstNetHTTP(t *testing.T) {
	for _, tt := range smuggling {
		t.Run(tt.name, func(t *testing.T) {
			_, _, theirs := netHTTP(tt.in)
			ours := tt.status == 0
			if agree := (theirs == nil) == ours; agree != (tt.lax == "") {
				t.Errorf("net/http: %v; we accept: %v; table says %q", theirs, ours, tt.lax)
			}
		})
	}
}

func netHTTP(in string) (r *http.Request, body []byte, err error) {
	if r, err = http.ReadRequest(bufio.NewReader(strings.NewReader(in))); err != nil {
		return nil, nil, err
	}
	body, err = io.ReadAll(r.Body)
	return r, body, err
}
