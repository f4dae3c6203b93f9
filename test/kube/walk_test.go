package kube

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/test/kube/bed"
)

// TestWalk is the tutorial from the first command to the last: install, label,
// deploy, open the product page, route, shift, lock down, uninstall. Nothing of it
// stays.
func TestWalk(t *testing.T) {
	b := bed.UseFull(t)
	before := inventory(t, b)
	t.Run("mesh", func(t *testing.T) {
		install(t, b)
		url := bookinfo(t, b, "bookinfo")
		ready(t, b, "bookinfo", 2, 6)
		routing(t, b, url)
		shifting(t, b, url)
		strict(t, b, url)
	})
	var left []string
	for o := range inventory(t, b) {
		if !before[o] {
			left = append(left, o)
		}
	}
	if len(left) > 0 {
		t.Errorf("the uninstallation left %d objects:\n%s", len(left), strings.Join(left, "\n"))
	}
}

// stars tells the versions of reviews apart on the product page: v2 has black
// stars, v3 red ones, v1 none ("no match").
const stars = `<font color="(red|black)">`

// routing sends all to v1, and the user jason to v2.
func routing(t *testing.T, b *bed.Bed, url string) {
	t.Helper()
	b.Apply(t, "bookinfo", b.Sample(t, "bookinfo/virtual-service-all-v1.yaml"))
	onlyVersion(t, b, bed.Load{URL: url + "/productpage", Match: stars}, "no match")
	b.Apply(t, "bookinfo", b.Sample(t, "bookinfo/virtual-service-reviews-test-v2.yaml"))
	onlyVersion(t, b, bed.Load{URL: url + "/productpage", Match: stars, Headers: []string{login(t, b, url, "jason")}}, "black")
	onlyVersion(t, b, bed.Load{URL: url + "/productpage", Match: stars}, "no match")
}

// login signs a user in at the product page and gives the header that says so.
func login(t *testing.T, b *bed.Bed, base, user string) string {
	t.Helper()
	resp, err := b.Client().PostForm(base+"/login", url.Values{"username": {user}, "passwd": {""}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	cookies := resp.Cookies()
	if len(cookies) == 0 {
		t.Fatalf("login answers %s without a cookie", resp.Status)
	}
	return "Cookie: " + cookies[0].Name + "=" + cookies[0].Value
}

// onlyVersion waits until 40 pages in a row are of one version, and none fails.
func onlyVersion(t *testing.T, b *bed.Bed, l bed.Load, want string) {
	t.Helper()
	bed.Eventually(t, 20*time.Second, "only pages with stars: "+want, func() error {
		run := b.StartLoad(t, l)
		time.Sleep(1200 * time.Millisecond)
		r := run.Stop(t)
		if r.Failed > 0 {
			return errors.New(r.String())
		}
		if r.Sent < 40 || r.Matches[want] != r.Sent {
			return fmt.Errorf("%d requests: %v", r.Sent, r.Matches)
		}
		return nil
	})
}

// shifting gives half of the requests to v3; the change itself fails none.
func shifting(t *testing.T, b *bed.Bed, url string) {
	t.Helper()
	b.Apply(t, "bookinfo", b.Sample(t, "bookinfo/virtual-service-all-v1.yaml"))
	onlyVersion(t, b, bed.Load{URL: url + "/productpage", Match: stars}, "no match")
	run := b.StartLoad(t, bed.Load{URL: url + "/productpage", Match: stars})
	b.Apply(t, "bookinfo", b.Sample(t, "bookinfo/virtual-service-reviews-50-v3.yaml"))
	time.Sleep(2 * time.Second)
	run.Stop(t).NoFailure(t, 50)

	run = b.StartLoad(t, bed.Load{URL: url + "/productpage", Match: stars, Rate: 100})
	time.Sleep(5 * time.Second)
	r := run.Stop(t)
	r.NoFailure(t, 300)
	// 500 draws with probability one half: five standard deviations are 56.
	if share := float64(r.Matches["red"]) / float64(r.Sent); share < 0.38 || share > 0.62 {
		t.Errorf("v3 got %.0f %% of the requests, want 50 %%: %v", 100*share, r.Matches)
	}
	b.Apply(t, "bookinfo", b.Sample(t, "bookinfo/virtual-service-reviews-v3.yaml"))
	onlyVersion(t, b, bed.Load{URL: url + "/productpage", Match: stars}, "red")
}

const strictPolicy = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
`

// strict demands mTLS: a client without a sidecar is refused, which it was not
// before, and the gateway is not.
func strict(t *testing.T, b *bed.Bed, url string) {
	t.Helper()
	b.Namespace(t, "outside")
	b.Apply(t, "outside", b.Sample(t, "curl/curl.yaml"))
	b.Rollout(t, "outside")
	ask := func() (string, error) {
		return b.Exec("outside", "deploy/curl", "curl", "-s", "-o", "/dev/null", "-m", "5", "-w", "%{http_code}", "http://details.bookinfo:9080/details/0")
	}
	bed.Eventually(t, 20*time.Second, "plain text while it is permitted", func() error {
		if out, err := ask(); err != nil || out != "200" {
			return fmt.Errorf("status %s: %v", out, err)
		}
		return nil
	})
	run := b.StartLoad(t, bed.Load{URL: url + "/productpage"})
	b.Apply(t, "bookinfo", strictPolicy)
	bed.Eventually(t, 20*time.Second, "refusal of plain text", func() error {
		out, err := ask()
		if err == nil {
			return fmt.Errorf("plain text is answered with %s", out)
		}
		if !strings.Contains(err.Error(), "exit code 56") && !strings.Contains(err.Error(), "exit code 52") {
			return fmt.Errorf("not the reset of a connection: %w", err)
		}
		return nil
	})
	time.Sleep(time.Second)
	run.Stop(t).NoFailure(t, 50)
}
