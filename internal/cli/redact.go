package cli

import "regexp"

// redacted stands in the place of what was blotted out.
const redacted = "[redacted]"

// redactor blots out what must not leave a machine.
type redactor struct{ patterns []*regexp.Regexp }

// newRedactor knows private keys in PEM, also on one line with escaped ends, JSON
// web tokens, and the values of an Authorization header.
func newRedactor() *redactor {
	return &redactor{[]*regexp.Regexp{
		regexp.MustCompile(`-----BEGIN ([A-Z]+ )*PRIVATE KEY-----[\s\S]*?-----END ([A-Z]+ )*PRIVATE KEY-----`),
		regexp.MustCompile(`LS0tLS1CRUdJTi[A-Za-z0-9+/]*UFJJVkFURSBLRVkt[A-Za-z0-9+/=]*`), // the same in base64, where "PRIVATE KEY-" falls on a boundary
		regexp.MustCompile(`LS0tLS1CRUdJTi[A-Za-z0-9+/]*(QUklWQVRFIEtFWS|BSSVZBVEUgS0VZL)[A-Za-z0-9+/=]*`),
		regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`),
		regexp.MustCompile(`(?i)(basic|bearer) [A-Za-z0-9._~+/=-]{16,}`),
	}}
}

// redact gives a text without secrets.
func (r *redactor) redact(text []byte) []byte {
	for _, p := range r.patterns {
		text = p.ReplaceAll(text, []byte(redacted))
	}
	return text
}
