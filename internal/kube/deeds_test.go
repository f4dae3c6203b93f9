package kube

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admission "k8s.io/api/admissionregistration/v1"
	authn "k8s.io/api/authentication/v1"
)

func TestCallerOf(t *testing.T) {
	answer := func(change func(*authn.TokenReviewStatus)) *authn.TokenReviewStatus {
		s := &authn.TokenReviewStatus{
			Authenticated: true, Audiences: []string{"istio-ca"},
			User: authn.UserInfo{Username: "system:serviceaccount:shop:reviews", Extra: map[string]authn.ExtraValue{
				"authentication.kubernetes.io/pod-name": {"reviews-1"}, "authentication.kubernetes.io/pod-uid": {"u"}, "authentication.kubernetes.io/node-name": {"node1"}}},
		}
		change(s)
		return s
	}
	for _, c := range []struct {
		name   string
		change func(*authn.TokenReviewStatus)
		err    string
	}{
		{"good", func(*authn.TokenReviewStatus) {}, ""},
		{"expired", func(s *authn.TokenReviewStatus) { s.Authenticated, s.Error = false, "token has expired" }, "token has expired"},
		{"no reason", func(s *authn.TokenReviewStatus) { s.Authenticated = false }, "not valid"},
		{"another audience", func(s *authn.TokenReviewStatus) { s.Audiences = []string{"api"} }, `for the audience ["api"]`},
		{"a server that knows no audiences", func(s *authn.TokenReviewStatus) { s.Audiences = nil }, "audience"},
		{"a person", func(s *authn.TokenReviewStatus) { s.User.Username = "admin" }, "not a service account"},
		{"an odd account", func(s *authn.TokenReviewStatus) { s.User.Username = "system:serviceaccount:a:b:c" }, "not a service account"},
		{"half an account", func(s *authn.TokenReviewStatus) { s.User.Username = "system:serviceaccount:a:" }, "not a service account"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := callerOf(answer(c.change), []string{"istio-ca"})
			if c.err == "" {
				if want := (Caller{"shop", "reviews", "reviews-1", "u", "node1"}); err != nil || got != want {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if !errors.Is(err, ErrRejected) || !strings.Contains(err.Error(), c.err) || got != (Caller{}) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestReviewCache(t *testing.T) {
	var r reviewCache
	key := func(i int) [sha256.Size]byte { return sha256.Sum256([]byte{byte(i), byte(i >> 8)}) }
	now := time.Unix(0, 0)
	r.put(key(1), Caller{Pod: "p"}, now)
	if got, ok := r.get(key(1), now.Add(reviewLife-1)); !ok || got.Pod != "p" {
		t.Error("an accepted token is not remembered")
	}
	if _, ok := r.get(key(1), now.Add(reviewLife)); ok {
		t.Error("a token is remembered for too long")
	}
	for i := range 3 * reviewEntries {
		r.put(key(i), Caller{}, now)
	}
	if len(r.seen) > reviewEntries {
		t.Errorf("%d tokens are remembered", len(r.seen))
	}
}

func TestWebhookPatch(t *testing.T) {
	fail := admission.Fail
	for _, c := range []struct {
		name   string
		hooks  []hook
		policy string
		want   string
	}{
		{"right already", []hook{{"a", []byte("ca"), &fail}}, "Fail", ""},
		{"another policy is not ours", []hook{{"a", []byte("ca"), &fail}}, "", ""},
		{"the second", []hook{{"a", []byte("ca"), nil}, {"b", []byte("old"), nil}}, "",
			`[{"op":"test","path":"/metadata/resourceVersion","value":"7"},{"op":"add","path":"/webhooks/1/clientConfig/caBundle","value":"Y2E="}]`},
		{"the policy", []hook{{"a", []byte("ca"), &fail}}, "Ignore",
			`[{"op":"test","path":"/metadata/resourceVersion","value":"7"},{"op":"add","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := webhookPatch("7", c.hooks, []byte("ca"), c.policy)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDuty(t *testing.T) {
	var d duty
	d.end()
	d.do(func() { t.Error("a duty starts after its end") })
	var e duty
	started, finish, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	finished := false
	go e.do(func() {
		close(started)
		<-finish
		finished = true
	})
	<-started
	go func() {
		e.end()
		close(ended)
	}()
	select {
	case <-ended:
		t.Error("the end does not wait")
	case <-time.After(20 * time.Millisecond):
	}
	close(finish)
	<-ended
	if !finished {
		t.Error("the end came first")
	}
}

func TestPackPrior(t *testing.T) {
	want := map[string]string{"a": "b", "c": "d"}
	one, err := packPrior(want)
	if err != nil {
		t.Fatal(err)
	}
	two, err := packPrior(want)
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("equal values pack to different bytes: %v", err)
	}
	var got map[string]string
	if err := unpackPrior(one, &got); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v, %v", got, err)
	}
	for name, bad := range map[string][]byte{"nothing": nil, "no gzip": []byte("{}"), "cut": one[:len(one)-9]} {
		if unpackPrior(bad, &got) == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// FuzzUnpackPrior: a damaged document is an error.
func FuzzUnpackPrior(f *testing.F) {
	good, err := packPrior(map[string]int{"a": 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		var got map[string]int
		_ = unpackPrior(data, &got) // it must only not panic
	})
}
