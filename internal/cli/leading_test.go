package cli

import (
	"strings"
	"testing"
)

func TestLeadingFlags(t *testing.T) {
	for args, want := range map[string]string{
		"proxy-status -n a":              "proxy-status -n a",
		"-n a proxy-status x":            "proxy-status x -n a",
		"--context=c -i s pc cluster p":  "pc cluster p --context=c -i s",
		"-n a exec w -- curl -s x":       "exec w -n a -- curl -s x",
		"--help":                         "--help",
		"--no-such x proxy-status":       "--no-such x proxy-status",
		"-n":                             "-n",
		"":                               "",
		"--kubeconfig f --context c get": "get --kubeconfig f --context c",
	} {
		if got := strings.Join(leadingFlags(strings.Fields(args)), " "); got != want {
			t.Errorf("%q becomes %q, want %q", args, got, want)
		}
	}
}

func TestRedact(t *testing.T) {
	r := newRedactor()
	pem := "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----"
	for _, secret := range []string{
		pem, strings.ReplaceAll(pem, "\n", `\n`), "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----",
		"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLi4u", "Bearer 0123456789abcdef0123",
		"LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1IY0NBUUVF", "LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQpNSWNDQVFFRQ==", "LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0tCk1IY0NBUUVF",
	} {
		got := string(r.redact([]byte("before " + secret + " after")))
		if got != "before "+redacted+" after" {
			t.Errorf("%q becomes %q", secret, got)
		}
	}
	for _, plain := range []string{"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "the bearer of news", "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"} {
		if got := string(r.redact([]byte(plain))); got != plain {
			t.Errorf("%q becomes %q", plain, got)
		}
	}
}
