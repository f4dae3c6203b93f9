package analysis

import (
	"strings"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Code is a kind of message.
type Code struct {
	Code  string
	Name  string // Istio's name of the message, ours for the LTN codes
	Level Level
	// What is said, in a word, for --list-analyzers.
	About string
}

// rule tells which verdicts a code of Istio stands for.
type rule struct {
	Code
	verdict  verdict.Code
	contains string // a part of the verdict's message
}

// rules are Istio's codes that have a verdict which says the same; the first that
// matches counts.
var rules = []rule{
	{Code{"IST0101", "ReferencedResourceNotFound", Error, "a host, subset, gateway, selector or credential that does not exist"}, verdict.Waiting, "is not known"},
	{Code{"IST0101", "ReferencedResourceNotFound", Error, ""}, verdict.Waiting, "does not exist"},
	{Code{"IST0101", "ReferencedResourceNotFound", Error, ""}, verdict.Waiting, "defines the subset"},
	{Code{"IST0101", "ReferencedResourceNotFound", Error, ""}, verdict.Waiting, "Secret"},
	{Code{"IST0101", "ReferencedResourceNotFound", Error, ""}, verdict.SelectsNothing, "the selector matches no workload"},
	{Code{"IST0130", "VirtualServiceUnreachableRule", Warning, "a rule that an earlier one leaves nothing to"}, verdict.Shadowed, "takes every request"},
	{Code{"IST0131", "VirtualServiceIneffectiveMatch", Info, "a match that an earlier one has"}, verdict.Shadowed, "has the same conditions"},
	{Code{"IST0132", "VirtualServiceHostNotFoundInGateway", Warning, "a host that no server of the gateway has"}, verdict.SelectsNothing, "has one of the hosts"},
	{Code{"IST0145", "ConflictingGateways", Error, "a host that another gateway serves on the same port"}, verdict.Shadowed, "serves the host"},
	{Code{"IST0103", "PodMissingProxy", Warning, "a pod without the proxy that its namespace asks for"}, verdict.Waiting, "without its proxy"},
}

// schemaError and schemaWarning are what the checks of single objects say.
var (
	schemaError   = Code{"IST0106", "SchemaValidationError", Error, "a field with a value that the API does not allow"}
	schemaWarning = Code{"LTN0007", "SchemaWarning", Warning, "a field that is allowed and hardly meant so"}
)

// own are the codes of verdicts for which Istio has none.
var own = map[verdict.Code]Code{
	verdict.Invalid:        {"LTN0001", "Invalid", Error, "refused; a safe effect or the last good version is in force"},
	verdict.Shadowed:       {"LTN0002", "Shadowed", Warning, "another object or an earlier rule wins"},
	verdict.SelectsNothing: {"LTN0003", "SelectsNothing", Warning, "correct, but nothing matches it"},
	verdict.Waiting:        {"LTN0004", "Waiting", Warning, "acts as soon as something that it names exists"},
	verdict.Unsupported:    {"LTN0005", "Unsupported", Warning, "this data plane cannot do it"},
	verdict.NotActedOn:     {"LTN0006", "NotActedOn", Info, "read, but not acted on yet"},
}

// codeOf picks the code of a verdict.
func codeOf(s verdict.Status) Code {
	for _, r := range rules {
		if r.verdict == s.Code && strings.Contains(s.Message, r.contains) {
			return r.Code
		}
	}
	return own[s.Code]
}

// Codes lists all codes in order.
func Codes() []Code {
	list := []Code{}
	seen := map[string]bool{}
	add := func(c Code) {
		if !seen[c.Code] {
			seen[c.Code] = true
			list = append(list, c)
		}
	}
	for _, r := range rules {
		add(r.Code)
	}
	add(schemaError)
	for _, v := range []verdict.Code{verdict.Invalid, verdict.Shadowed, verdict.SelectsNothing, verdict.Waiting, verdict.Unsupported, verdict.NotActedOn} {
		add(own[v])
	}
	add(schemaWarning)
	return list
}
