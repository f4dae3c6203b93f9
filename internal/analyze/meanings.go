package analyze

import "github.com/lateen-mesh/lateen/internal/verdict"

// Meaning is a verdict and what it means.
type Meaning struct {
	Code  verdict.Code
	About string
}

// Meanings lists the closed set of verdicts, the best first.
func Meanings() []Meaning {
	return []Meaning{
		{verdict.Effective, "acts as written"},
		{verdict.Differs, "acts, but on purpose not as in Istio; the message says how"},
		{verdict.SelectsNothing, "correct, but nothing in the mesh matches it"},
		{verdict.Waiting, "acts as soon as something that it names exists"},
		{verdict.Shadowed, "another object or an earlier rule wins; the message names it"},
		{verdict.NotActedOn, "a kind or field that is read but not acted on yet"},
		{verdict.Unsupported, "this data plane cannot do it"},
		{verdict.Invalid, "rejected; the last good version, or a safe effect, is in force"},
	}
}
