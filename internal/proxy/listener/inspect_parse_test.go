package listener

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// clientHello captures what crypto/tls sends first.
func clientHello(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	go func() {
		c := tls.Client(a, cfg)
		_ = c.Handshake() // fails when the pipe closes
		a.Close()
	}()
	buf := make([]byte, 64<<10)
	n, err := b.Read(buf)
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	want := 5 + int(buf[3])<<8 + int(buf[4])
	for n < want {
		k, err := b.Read(buf[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
	return buf[:n]
}

// fragment splits the handshake message of one record into records of size bytes.
func fragment(hello []byte, size int) []byte {
	var out []byte
	for chunk := range slices.Chunk(hello[5:], size) {
		out = append(out, hello[0], hello[1], hello[2], byte(len(chunk)>>8), byte(len(chunk)))
		out = append(out, chunk...)
	}
	return out
}

func TestParseHello(t *testing.T) {
	hello := clientHello(t, &tls.Config{ServerName: "Outbound_.9080_._.reviews.default", NextProtos: []string{"istio-http/1.1", "istio"}, InsecureSkipVerify: true})
	want := Hello{ServerName: "outbound_.9080_._.reviews.default", ALPNs: []string{"istio-http/1.1", "istio"}}
	for name, b := range map[string][]byte{"one record": hello, "records of 7": fragment(hello, 7), "records of 1": fragment(hello, 1)} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseHello(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			for i := range b {
				if _, err := ParseHello(b[:i]); !errors.Is(err, errMore) {
					t.Fatalf("prefix of %d bytes: %v", i, err)
				}
			}
		})
	}
	plain := clientHello(t, &tls.Config{InsecureSkipVerify: true})
	if got, err := ParseHello(plain); err != nil || got.ServerName != "" || got.ALPNs != nil {
		t.Errorf("without extensions of interest: %+v, %v", got, err)
	}
	for name, b := range map[string][]byte{
		"http": []byte("GET / HTTP/1.1\r\n"), "alert": {21, 3, 1, 0, 2, 1, 0}, "server hello": {22, 3, 1, 0, 4, 2, 0, 0, 0},
		"huge record": {22, 3, 1, 255, 255}, "ssl2": {22, 2}, "cut body": {22, 3, 1, 0, 5, 1, 0, 0, 1, 3},
	} {
		if _, err := ParseHello(b); !errors.Is(err, errNotTLS) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseHTTP(t *testing.T) {
	for in, want := range map[string]string{
		"GET / HTTP/1.1\r\n": "http/1.1", "POST /x?y HTTP/1.1\r\nHost: a": "http/1.1", "GET / HTTP/1.0\n": "http/1.0",
		"\r\nGET / HTTP/1.1\r\n": "http/1.1", preface: "h2c", "M-SEARCH * HTTP/1.1\r\n": "http/1.1",
		"GET /" + strings.Repeat("a", maxRequestLine): "http/1.1",
		"": "more", "G": "more", "GET": "more", "GET /": "more", "PRI * HT": "more", "\r": "more", "GET / HTTP/1.1\r": "more",
		"hello": "no", "HELO x\r\n": "no", "GET\r\n": "no", "GET /\r\n": "no", "GET / HTTP/2.0\r\n": "no", "\x16\x03": "no",
		"GET /\x00 HTTP/1.1\r\n": "no", "get / HTTP/1.1\r\n": "no", "USER a": "no", "GETX / HTTP/1.1\r\n": "no",
	} {
		got, err := ParseHTTP([]byte(in))
		switch {
		case errors.Is(err, errMore):
			got = "more"
		case err != nil:
			got = "no"
		}
		if got != want {
			t.Errorf("%.40q: %s, want %s", in, got, want)
		}
	}
}

func TestParseProxyHeader(t *testing.T) {
	v2 := append([]byte(proxyV2Signature), 0x21, 0x11, 0, 12, 10, 0, 0, 1, 10, 0, 0, 2, 0x1f, 0x90, 0, 80)
	v6 := append([]byte(proxyV2Signature), 0x21, 0x21, 0, 36)
	v6 = append(v6, netip.MustParseAddr("2001:db8::1").AsSlice()...)
	v6 = append(v6, netip.MustParseAddr("2001:db8::2").AsSlice()...)
	v6 = append(v6, 0, 1, 0, 2)
	local := append([]byte(proxyV2Signature), 0x20, 0, 0, 0)
	ap := netip.MustParseAddrPort
	for name, c := range map[string]struct {
		in   []byte
		want ProxyHeader
	}{
		"v1":         {[]byte("PROXY TCP4 10.0.0.1 10.0.0.2 8080 80\r\n"), ProxyHeader{ap("10.0.0.1:8080"), ap("10.0.0.2:80")}},
		"v1 six":     {[]byte("PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"), ProxyHeader{ap("[2001:db8::1]:1"), ap("[2001:db8::2]:2")}},
		"v1 unknown": {[]byte("PROXY UNKNOWN\r\n"), ProxyHeader{}},
		"v2":         {v2, ProxyHeader{ap("10.0.0.1:8080"), ap("10.0.0.2:80")}},
		"v2 six":     {v6, ProxyHeader{ap("[2001:db8::1]:1"), ap("[2001:db8::2]:2")}},
		"v2 local":   {local, ProxyHeader{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, n, err := ParseProxyHeader(append(bytes.Clone(c.in), "GET /"...))
			if err != nil || n != len(c.in) || got != c.want {
				t.Errorf("%+v, %d, %v; want %+v, %d", got, n, err, c.want, len(c.in))
			}
			for i := range c.in {
				if _, _, err := ParseProxyHeader(c.in[:i]); !errors.Is(err, errMore) {
					t.Fatalf("prefix of %d bytes: %v", i, err)
				}
			}
		})
	}
	for _, in := range []string{
		"GET / HTTP/1.1", "PROXY TCP4 10.0.0.1 10.0.0.2 8080\r\n", "PROXY TCP4 ::1 ::2 1 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
		"PROXY " + strings.Repeat("x", 110), proxyV2Signature + "\x31\x11\x00\x00", proxyV2Signature + "\x21\x11\x00\x02\x00\x00", proxyV2Signature + "\x21\x11\xff\xff",
	} {
		if _, _, err := ParseProxyHeader([]byte(in)); err == nil || errors.Is(err, errMore) {
			t.Errorf("%.30q: %v", in, err)
		}
	}
}

func FuzzParseHello(f *testing.F) {
	hello := clientHello(f, &tls.Config{ServerName: "a.example", NextProtos: []string{"istio"}, InsecureSkipVerify: true})
	f.Add(hello)
	f.Add(fragment(hello, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHello(b)
		if err != nil {
			if !errors.Is(err, errMore) && !errors.Is(err, errNotTLS) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		if h.ServerName != strings.ToLower(h.ServerName) {
			t.Errorf("server name %q", h.ServerName)
		}
		if again, err := ParseHello(append(bytes.Clone(b), "more"...)); err != nil || !cmp.Equal(h, again) {
			t.Errorf("bytes behind the message change the result: %v", err)
		}
	})
}

func FuzzParseHTTP(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte(preface))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseHTTP(b)
		if (p == "") == (err == nil) {
			t.Fatalf("%q, %v", p, err)
		}
		// A decision stands when more bytes come.
		if q, err2 := ParseHTTP(append(bytes.Clone(b), "x\r\n"...)); !errors.Is(err, errMore) && q != p {
			t.Errorf("%q became %q (%v, %v)", p, q, err, err2)
		}
	})
}

func FuzzParseProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 10.0.0.1 10.0.0.2 8080 80\r\n"))
	f.Add(append([]byte(proxyV2Signature), 0x21, 0x11, 0, 12, 10, 0, 0, 1, 10, 0, 0, 2, 0x1f, 0x90, 0, 80))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseProxyHeader(b)
		if err == nil && (n <= 0 || n > len(b)) {
			t.Fatalf("length %d of %d", n, len(b))
		}
		if err != nil && h != (ProxyHeader{}) {
			t.Fatalf("header with an error: %+v", h)
		}
	})
}
