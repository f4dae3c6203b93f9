package main

import (
	"strings"

	"github.com/lateen-mesh/lateen/bench/peer"
)

// requestHeaders are those of a browser's request as the mesh carries it: eleven
// with Host, about 750 bytes together with the request line.
var requestHeaders = []string{
	"Host: " + peer.Host,
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
	"Accept-Language: en-GB,en;q=0.9,de;q=0.7",
	"Accept-Encoding: gzip, deflate, br",
	"Cache-Control: no-cache",
	"Referer: http://bookinfo.example.com/productpage?u=normal",
	"Cookie: session=" + strings.Repeat("eyJ1c2VyIjoibm9ybWFsIn0", 6) + "; theme=dark",
	"X-Request-Id: 5f1c9a2e-7b1d-4c53-9a75-3a1f0d6c2b11",
	"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	"X-Client-Version: 2026.11.3",
}

// requestText is an HTTP/1.1 GET with these headers.
func requestText(path string) string {
	return "GET " + path + " HTTP/1.1\r\n" + strings.Join(requestHeaders, "\r\n") + "\r\n\r\n"
}

// http2Headers are the same for HTTP/2, where Host is the authority.
func http2Headers() []string {
	out := []string{":authority: " + peer.Host}
	for _, h := range requestHeaders[1:] {
		name, value, _ := strings.Cut(h, ": ")
		out = append(out, strings.ToLower(name)+": "+value)
	}
	return out
}
