package samples

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// start runs a program on a free port and returns its base URL.
func start(t *testing.T, name string, vars map[string]string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, name, []string{port}, func(k string) string { return vars[k] }, slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	base := "http://127.0.0.1:" + port
	for range 200 {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			return base
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not serve", name)
	return ""
}

func hostPort(base string) (host, port string) {
	u, _ := url.Parse(base)
	return u.Hostname(), u.Port()
}

func body(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// bookinfoEnv points the product page and reviews at their back ends.
func bookinfoEnv(details, reviews, ratings string) map[string]string {
	env := map[string]string{"HOSTNAME": "pod-1"}
	for k, base := range map[string]string{"DETAILS": details, "REVIEWS": reviews, "RATINGS": ratings} {
		env[k+"_HOSTNAME"], env[k+"_SERVICE_PORT"] = hostPort(base)
	}
	return env
}

const nowhere = "http://127.0.0.1:1"

func TestBookinfoPage(t *testing.T) {
	ratings, details := start(t, "ratings-v1", nil), start(t, "details-v1", nil)
	for _, c := range []struct{ version, ratings, want, not string }{
		{"reviews-v1", ratings, "Reviewer1", "glyphicon-star"},
		{"reviews-v2", ratings, `<font color="black"><span class="glyphicon glyphicon-star">`, `color="red"`},
		{"reviews-v3", ratings, `<font color="red"><span class="glyphicon glyphicon-star">`, `color="black"`},
		{"reviews-v3", nowhere, "Ratings service is currently unavailable", "glyphicon"},
	} {
		t.Run(c.version, func(t *testing.T) {
			reviews := start(t, c.version, bookinfoEnv(details, nowhere, c.ratings))
			page := start(t, "productpage-v1", bookinfoEnv(details, reviews, c.ratings))
			code, text := body(t, http.DefaultClient, page+"/productpage")
			if code != 200 || !strings.Contains(text, "<title>Simple Bookstore App</title>") || !strings.Contains(text, "PublisherA") {
				t.Errorf("page %d:\n%s", code, text)
			}
			if !strings.Contains(text, c.want) || strings.Contains(text, c.not) {
				t.Errorf("want %q and not %q in:\n%s", c.want, c.not, text)
			}
		})
	}
}

func TestBookinfoErrors(t *testing.T) {
	page := start(t, "productpage", bookinfoEnv(nowhere, nowhere, nowhere))
	_, text := body(t, http.DefaultClient, page+"/productpage")
	for _, want := range []string{
		"Error fetching product details!", "Sorry, product details are currently unavailable for this book.",
		"Error fetching product reviews!", "Sorry, product reviews are currently unavailable for this book.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if code, text := body(t, http.DefaultClient, page+"/api/v1/products/0/ratings"); code != 500 || !strings.Contains(text, "Sorry, product ratings") {
		t.Errorf("ratings: %d %s", code, text)
	}
}

// TestEndUser: the session's user, and nobody else, becomes the end-user header.
func TestEndUser(t *testing.T) {
	details := start(t, "details-v1", nil)
	seen := make(chan http.Header, 8)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Clone()
		fmt.Fprint(w, `{"id":"0","reviews":[]}`)
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	page := start(t, "productpage", bookinfoEnv(details, "http://"+l.Addr().String(), nowhere))

	jar, _ := cookiejar.New(nil)
	c := &http.Client{Jar: jar}
	ask := func() http.Header {
		req, _ := http.NewRequest("GET", page+"/productpage", nil)
		req.Header.Set("End-User", "forged")
		req.Header.Set("X-B3-TraceId", "463ac35c9f6413ad48485a3953bb6124")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return <-seen
	}
	if h := ask(); h.Get("End-User") != "" || h.Get("X-B3-TraceId") == "" {
		t.Errorf("signed out: %v", h)
	}
	resp, err := c.PostForm(page+"/login", url.Values{"username": {"jason"}, "passwd": {""}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-seen // the redirect leads to the page
	if h := ask(); h.Get("End-User") != "jason" {
		t.Errorf("signed in: %v", h)
	}
	u, _ := url.Parse(page)
	jar.SetCookies(u, []*http.Cookie{{Name: "session", Value: "YWRtaW4.AAAA", Path: "/"}})
	if h := ask(); h.Get("End-User") != "" {
		t.Errorf("a forged session counts: %v", h)
	}
}

func TestReviewsJSON(t *testing.T) {
	ratings := start(t, "ratings-v1", nil)
	reviews := start(t, "reviews-v2", bookinfoEnv(nowhere, nowhere, ratings))
	_, text := body(t, http.DefaultClient, reviews+"/reviews/0")
	if !strings.Contains(text, `"rating":{"stars":5,"color":"black"}`) || !json.Valid([]byte(text)) {
		t.Errorf("%s", text)
	}
	resp, err := http.Post(ratings+"/ratings/0", "application/json", strings.NewReader(`{"Reviewer1":1,"Reviewer2":2}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if _, text = body(t, http.DefaultClient, reviews+"/reviews/0"); !strings.Contains(text, `"stars":1`) {
		t.Errorf("posted ratings are not seen: %s", text)
	}
}

func TestSmallSamples(t *testing.T) {
	hw := start(t, "helloworld-v2", map[string]string{"HOSTNAME": "pod-7"})
	if _, text := body(t, http.DefaultClient, hw+"/hello"); text != "Hello version: v2, instance: pod-7\n" {
		t.Errorf("helloworld: %q", text)
	}
	hb := start(t, "httpbin", nil)
	for path, want := range map[string]int{"/status/418": 418, "/status/9999": 400, "/get?a=b": 200, "/bearer": 401, "/bytes/70000": 200, "/stream/3": 200} {
		if code, _ := body(t, http.DefaultClient, hb+path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	if _, text := body(t, http.DefaultClient, hb+"/headers"); !strings.Contains(text, `"Host": [`) {
		t.Errorf("headers: %s", text)
	}
}

func TestTCPEcho(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, "tcp-echo", []string{port, "one"}, func(string) string { return "" }, slog.New(slog.DiscardHandler))
	}()
	defer func() { cancel(); <-done }()
	var c net.Conn
	for range 200 {
		if c, err = net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "world\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); line != "one world\n" {
		t.Errorf("%q %v", line, err)
	}
}

func TestUnknownProgram(t *testing.T) {
	for _, name := range []string{"nothing", "nothing-v1", "ratings-x"} {
		err := Run(t.Context(), name, nil, func(string) string { return "" }, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "no sample program") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManifestsAreThere(t *testing.T) {
	n := 0
	err := fs.WalkDir(Files(), ".", func(path string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".yaml") {
			n++
		}
		return err
	})
	if err != nil || n < 12 {
		t.Errorf("%d manifests, %v", n, err)
	}
	if b := string(Bookinfo()); !strings.Contains(b, "bookinfo-gateway") || !strings.Contains(b, "name: reviews-v3") {
		t.Error("Bookinfo's manifests are not complete")
	}
}
