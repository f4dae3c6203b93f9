package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// TestCombinations makes the plain kinds of requests over all four combinations of
// HTTP/1.1 and HTTP/2.
func TestCombinations(t *testing.T) {
	app := http.NewServeMux()
	app.HandleFunc("/get", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", fmt.Sprintf("%s %s %v %v %v", r.Proto, r.Host, r.Header["Cookie"], r.Header["Connection"], r.Header["X-Hop"]))
		io.WriteString(w, "hello")
	})
	app.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 is it anyway
		w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
		io.Copy(w, r.Body)
	})
	app.HandleFunc("/status", func(w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscan(r.URL.RawQuery, &n)
		w.WriteHeader(n)
	})
	app.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Te", r.Header.Get("Te"))
		w.Write(b)
		w.Header().Set("X-Sum", fmt.Sprintf("%d %s", len(b), r.Trailer.Get("X-Up")))
	})
	app.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(103)
		w.WriteHeader(200)
	})
	each(t, app.ServeHTTP, func(t *testing.T, h *hop, c combination) {
		want := map[string]string{"h1": "HTTP/1.1", "h2": "HTTP/2.0"}
		t.Run("GET", func(t *testing.T) {
			fields := []string{"Cookie", "a=1; b=2"}
			if c.down == "h1" {
				fields = append(fields, "Connection", "x-hop", "X-Hop", "1")
			}
			resp := h.do(t, "GET", "/get", nil, fields...)
			seen := fmt.Sprintf("%s %s [a=1; b=2] [] []", want[c.up], strings.TrimPrefix(h.base, "http://"))
			if got := readAll(t, resp.Body); got != "hello" || resp.Proto != want[c.down] || resp.Header.Get("X-Seen") != seen || resp.ContentLength != 5 {
				t.Errorf("%q over %s: %v, want %s", got, resp.Proto, resp.Header, seen)
			}
		})
		for name, sized := range map[string]bool{"sized": true, "unsized": false} {
			t.Run("5 MiB "+name, func(t *testing.T) { echoLarge(t, h, sized) })
		}
		t.Run("no body", func(t *testing.T) {
			for _, q := range []string{"204", "304"} {
				if resp := h.do(t, "GET", "/status?"+q, nil); fmt.Sprint(resp.StatusCode) != q || readAll(t, resp.Body) != "" {
					t.Errorf("%s: %d", q, resp.StatusCode)
				}
			}
			if resp := h.do(t, "HEAD", "/get", nil); resp.StatusCode != 200 || resp.ContentLength != 5 {
				t.Errorf("HEAD: %d, length %d", resp.StatusCode, resp.ContentLength)
			}
		})
		t.Run("trailers", func(t *testing.T) {
			req, _ := http.NewRequestWithContext(t.Context(), "POST", h.base+"/trailers", struct{ io.Reader }{strings.NewReader("body")})
			req.Trailer = http.Header{"X-Up": {"up"}}
			req.Header.Set("Te", "trailers")
			resp, err := h.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got := readAll(t, resp.Body); got != "body" || resp.Trailer.Get("X-Sum") != "4 up" || resp.Header.Get("X-Te") != "trailers" {
				t.Errorf("%q, %v, te %q", got, resp.Trailer, resp.Header.Get("X-Te"))
			}
		})
		t.Run("1xx", func(t *testing.T) {
			var hints []string
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, f textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, f.Get("Link")))
				return nil
			}})
			req, _ := http.NewRequestWithContext(ctx, "GET", h.base+"/hints", nil)
			resp, err := h.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 200 || len(hints) != 1 || hints[0] != "103</style.css>" {
				t.Errorf("%d, %v", resp.StatusCode, hints)
			}
		})
		t.Run("expect", func(t *testing.T) {
			resp := h.do(t, "POST", "/echo", strings.NewReader("after 100"), "Expect", "100-continue")
			if got := readAll(t, resp.Body); got != "after 100" {
				t.Errorf("%q", got)
			}
		})
	})
}

func echoLarge(t *testing.T, h *hop, sized bool) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 5<<16)
	var body io.Reader = bytes.NewReader(big)
	length := fmt.Sprint(len(big))
	if !sized {
		body, length = struct{ io.Reader }{body}, "-1"
	}
	resp := h.do(t, "POST", "/echo", body)
	got := readAll(t, resp.Body)
	if resp.Header.Get("X-Length") != length || sha256.Sum256([]byte(got)) != sha256.Sum256(big) {
		t.Errorf("declared %q, want %q; %d of %d bytes came back", resp.Header.Get("X-Length"), length, len(got), len(big))
	}
}

// TestBidirectional: the answer moves while the request does, in lockstep.
func TestBidirectional(t *testing.T) {
	each(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.WriteHeader(200)
		rc.Flush()
		for lines := bufio.NewScanner(r.Body); lines.Scan(); {
			fmt.Fprintf(w, "got %s\n", lines.Text())
			rc.Flush()
		}
		io.WriteString(w, "end\n")
	}, func(t *testing.T, h *hop, _ combination) {
		up, in := io.Pipe()
		resp := h.do(t, "POST", "/", up)
		lines := bufio.NewReader(resp.Body)
		for i := range 5 {
			fmt.Fprintf(in, "line %d\n", i)
			if got, err := lines.ReadString('\n'); err != nil || got != fmt.Sprintf("got line %d\n", i) {
				t.Fatalf("%q, %v", got, err)
			}
		}
		in.Close()
		if got, err := lines.ReadString('\n'); err != nil || got != "end\n" {
			t.Fatalf("%q, %v", got, err)
		}
	})
}

// TestEarlyAnswer: an answer that does not wait for the request's body arrives whole,
// and the body's rest does no harm to what follows.
func TestEarlyAnswer(t *testing.T) {
	each(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/after" {
			return
		}
		_ = http.NewResponseController(w).EnableFullDuplex() // or Go's server waits for the body
		w.WriteHeader(413)
		io.WriteString(w, "too much")
	}, func(t *testing.T, h *hop, c combination) {
		up, in := io.Pipe()
		go func() {
			in.Write(make([]byte, 1000)) // the rest never comes
		}()
		resp := h.do(t, "POST", "/", up)
		if got := readAll(t, resp.Body); resp.StatusCode != 413 || got != "too much" {
			t.Errorf("%d %q", resp.StatusCode, got)
		}
		in.Close()
		if resp := h.do(t, "GET", "/after", nil); resp.StatusCode != 200 {
			t.Errorf("afterwards: %d", resp.StatusCode)
		}
	})
}

// TestClientResets: a client that gives up cancels the request at the application.
func TestClientResets(t *testing.T) {
	for _, when := range []string{"before the answer", "in the answer"} {
		t.Run(when, func(t *testing.T) {
			gone, begun := make(chan struct{}, 8), make(chan struct{}, 8)
			each(t, func(w http.ResponseWriter, r *http.Request) {
				if when == "in the answer" {
					w.WriteHeader(200)
					http.NewResponseController(w).Flush()
				}
				begun <- struct{}{}
				<-r.Context().Done()
				gone <- struct{}{}
			}, func(t *testing.T, h *hop, _ combination) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, _ := http.NewRequestWithContext(ctx, "GET", h.base+"/", nil)
				errs := make(chan error, 1)
				go func() {
					resp, err := h.client.Do(req)
					if err == nil {
						_, err = io.ReadAll(resp.Body)
						resp.Body.Close()
					}
					errs <- err
				}()
				within(t, begun, "the request did not arrive")
				time.Sleep(20 * time.Millisecond)
				cancel()
				if err := <-errs; !errors.Is(err, context.Canceled) {
					t.Errorf("%v", err)
				}
				within(t, gone, "the application was not told")
			})
		})
	}
}

func within[T any](t testing.TB, ch <-chan T, otherwise string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(20 * time.Second):
		t.Fatal(otherwise)
	}
	return v
}

// TestServerResets: an endpoint that cuts its answer short is no end of it; one that
// gives none is answered for.
func TestServerResets(t *testing.T) {
	each(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mid" {
			io.WriteString(w, "begun")
			http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond)
		}
		panic(http.ErrAbortHandler)
	}, func(t *testing.T, h *hop, c combination) {
		why := "upstream_reset" // the connection ends
		if c.up == "h2" {
			why = "upstream_remote_reset"
		}
		resp := h.do(t, "GET", "/", nil)
		if resp.StatusCode != 503 || !strings.HasPrefix(resp.Header.Get("X-Lateen-Reason"), why+":") {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
		readAll(t, resp.Body)
		resp = h.do(t, "GET", "/mid", nil)
		if b, err := io.ReadAll(resp.Body); err == nil || !strings.HasPrefix("begun", string(b)) {
			t.Errorf("%q, %v", b, err)
		}
	})
}
