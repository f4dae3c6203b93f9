// Package httpbin is the sample that shows a request back to its sender: the
// part of httpbin's API that mesh tutorials and checks use.
package httpbin

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxBody  = 10 << 20
	maxDelay = 10 * time.Second
	maxBytes = 100 << 20
)

// Handler serves the API.
func Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]http.HandlerFunc{
		"GET /{$}":            func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "httpbin") },
		"GET /get":            echo(false),
		"POST /post":          echo(true),
		"PUT /put":            echo(true),
		"PATCH /patch":        echo(true),
		"DELETE /delete":      echo(true),
		"/anything":           echo(true),
		"/anything/{rest...}": echo(true),
		"GET /headers":        func(w http.ResponseWriter, r *http.Request) { reply(w, 200, map[string]any{"headers": headers(r)}) },
		"GET /ip":             func(w http.ResponseWriter, r *http.Request) { reply(w, 200, map[string]any{"origin": origin(r)}) },
		"GET /user-agent": func(w http.ResponseWriter, r *http.Request) {
			reply(w, 200, map[string]any{"user-agent": r.UserAgent()})
		},
		"/status/{codes}":             status,
		"/delay/{seconds}":            delay,
		"GET /bytes/{n}":              bytes,
		"GET /stream/{n}":             stream,
		"GET /stream-bytes/{n}":       bytes,
		"GET /cookies":                cookies,
		"GET /cookies/set":            setCookies,
		"GET /redirect/{n}":           redirect,
		"GET /redirect-to":            redirectTo,
		"GET /response-headers":       responseHeaders,
		"GET /base64/{value}":         decode64,
		"GET /basic-auth/{user}/{pw}": basicAuth,
		"GET /bearer":                 bearer,
		"GET /uuid":                   uuid,
		"GET /websocket/echo":         websocket,
	} {
		mux.HandleFunc(pattern, h)
	}
	return mux
}

func reply(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the client's departure is its own affair
}

// headers gives every header with all its values, Host among them.
func headers(r *http.Request) map[string][]string {
	h := map[string][]string{"Host": {r.Host}}
	for k, v := range r.Header {
		h[k] = v
	}
	return h
}

func origin(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func echo(withBody bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		out := map[string]any{
			"args": r.URL.Query(), "headers": headers(r), "method": r.Method, "origin": origin(r),
			"url": scheme + "://" + r.Host + r.URL.RequestURI(),
		}
		if withBody {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
			if err != nil {
				http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
				return
			}
			out["data"] = string(body)
			var parsed any
			if json.Unmarshal(body, &parsed) == nil {
				out["json"] = parsed
			}
			if form, err := url.ParseQuery(string(body)); err == nil && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
				out["form"] = form
			}
		}
		reply(w, 200, out)
	}
}

// status answers with the code of the path, or with one of several by weight:
// /status/200:0.9,503:0.1.
func status(w http.ResponseWriter, r *http.Request) {
	type choice struct {
		code   int
		weight float64
	}
	var choices []choice
	total := 0.0
	for _, part := range strings.Split(r.PathValue("codes"), ",") {
		c, wt, weighted := strings.Cut(part, ":")
		code, err := strconv.Atoi(c)
		weight := 1.0
		if err == nil && weighted {
			weight, err = strconv.ParseFloat(wt, 64)
		}
		if err != nil || code < 200 || code > 599 || weight < 0 {
			http.Error(w, "invalid status code", http.StatusBadRequest)
			return
		}
		choices = append(choices, choice{code, weight})
		total += weight
	}
	at := rand.Float64() * total
	code := choices[0].code
	for _, c := range choices {
		if code = c.code; at < c.weight {
			break
		}
		at -= c.weight
	}
	if code/100 == 3 {
		w.Header().Set("Location", "/redirect/1")
	}
	w.WriteHeader(code)
}

func delay(w http.ResponseWriter, r *http.Request) {
	s, err := strconv.ParseFloat(r.PathValue("seconds"), 64)
	if err != nil || s < 0 {
		http.Error(w, "invalid delay", http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(min(time.Duration(s*float64(time.Second)), maxDelay)):
		echo(true)(w, r)
	case <-r.Context().Done():
	}
}

func count(w http.ResponseWriter, r *http.Request, limit int) (int, bool) {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil || n < 0 || n > limit {
		http.Error(w, fmt.Sprintf("want a number from 0 to %d", limit), http.StatusBadRequest)
		return 0, false
	}
	return n, true
}

func bytes(w http.ResponseWriter, r *http.Request) {
	n, ok := count(w, r, maxBytes)
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if strings.HasPrefix(r.URL.Path, "/bytes/") {
		w.Header().Set("Content-Length", strconv.Itoa(n))
	}
	chunk := make([]byte, 32<<10)
	for i := range chunk {
		chunk[i] = byte(i)
	}
	for n > 0 {
		k := min(n, len(chunk))
		if _, err := w.Write(chunk[:k]); err != nil {
			return
		}
		n -= k
	}
}

func stream(w http.ResponseWriter, r *http.Request) {
	n, ok := count(w, r, 100)
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	for i := range n {
		if _, err := fmt.Fprintf(w, "{\"id\":%d,\"url\":%q}\n", i, r.URL.Path); err != nil {
			return
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
	}
}

func cookies(w http.ResponseWriter, r *http.Request) {
	all := map[string]string{}
	for _, c := range r.Cookies() {
		all[c.Name] = c.Value
	}
	reply(w, 200, map[string]any{"cookies": all})
}

func setCookies(w http.ResponseWriter, r *http.Request) {
	for k, v := range r.URL.Query() {
		http.SetCookie(w, &http.Cookie{Name: k, Value: v[0], Path: "/"})
	}
	http.Redirect(w, r, "/cookies", http.StatusFound)
}

func redirect(w http.ResponseWriter, r *http.Request) {
	n, ok := count(w, r, 20)
	if !ok {
		return
	}
	to := "/get"
	if n > 1 {
		to = "/redirect/" + strconv.Itoa(n-1)
	}
	http.Redirect(w, r, to, http.StatusFound)
}

func redirectTo(w http.ResponseWriter, r *http.Request) {
	code := http.StatusFound
	if c, err := strconv.Atoi(r.URL.Query().Get("status_code")); err == nil && c/100 == 3 {
		code = c
	}
	w.Header().Set("Location", r.URL.Query().Get("url"))
	w.WriteHeader(code)
}

func responseHeaders(w http.ResponseWriter, r *http.Request) {
	for k, vs := range r.URL.Query() {
		for _, v := range vs {
			w.Header().Add(k, v)
		}
	}
	reply(w, 200, r.URL.Query())
}

func decode64(w http.ResponseWriter, r *http.Request) {
	b, err := base64.URLEncoding.DecodeString(r.PathValue("value"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = w.Write(b)
}

func basicAuth(w http.ResponseWriter, r *http.Request) {
	user, pw, ok := r.BasicAuth()
	if !ok || user != r.PathValue("user") || pw != r.PathValue("pw") {
		w.Header().Set("WWW-Authenticate", `Basic realm="httpbin"`)
		reply(w, http.StatusUnauthorized, map[string]any{"authorized": false})
		return
	}
	reply(w, 200, map[string]any{"authorized": true, "user": user})
}

func bearer(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		w.Header().Set("WWW-Authenticate", "Bearer")
		reply(w, http.StatusUnauthorized, map[string]any{"authenticated": false})
		return
	}
	reply(w, 200, map[string]any{"authenticated": true, "token": token})
}

func uuid(w http.ResponseWriter, _ *http.Request) {
	var b [16]byte
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	reply(w, 200, map[string]any{"uuid": fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])})
}
