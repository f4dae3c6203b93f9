package kube

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// The conditions of the mesh's objects. PassedAnalysis is Istio's; Effective says
// what became of the object: True where it acts, at least in part.
const (
	conditionEffective = "Effective"
	conditionAnalysis  = "PassedAnalysis"
)

// messageLimit bounds a condition's text, in bytes.
const messageLimit = 1024

// condition is a condition of Istio's status (meta.v1alpha1.IstioCondition).
type condition struct {
	Type               string `json:"type"`
	Status             string `json:"status"`
	Reason             string `json:"reason,omitempty"`
	Message            string `json:"message,omitempty"`
	LastTransitionTime string `json:"lastTransitionTime,omitempty"`
	ObservedGeneration int64  `json:"observedGeneration,omitempty"`
}

// analysis is a message of Istio's status (analysis.v1alpha1.AnalysisMessageBase):
// it has no text of its own, that is in the conditions.
type analysis struct {
	Type  analysisType `json:"type"`
	Level string       `json:"level"`
}

type analysisType struct {
	Name string `json:"name"`
	Code string `json:"code"`
}

// status is Istio's status of an object (meta.v1alpha1.IstioStatus).
type status struct {
	Conditions         []condition `json:"conditions"`
	ValidationMessages []analysis  `json:"validationMessages,omitempty"`
	ObservedGeneration int64       `json:"observedGeneration,omitempty"`
}

// analyses gives each code its level and number. Where Istio has a message of the
// same meaning, its number is used; tools know it. The others are those of package
// analyze, which docs/verdicts.md lists.
var analyses = map[verdict.Code]analysis{
	verdict.Invalid:        {analysisType{"SchemaValidationError", "IST0106"}, "ERROR"},
	verdict.Waiting:        {analysisType{"ReferencedResourceNotFound", "IST0101"}, "WARNING"},
	verdict.Shadowed:       {analysisType{"Shadowed", "LTN0002"}, "WARNING"},
	verdict.SelectsNothing: {analysisType{"SelectsNothing", "LTN0003"}, "WARNING"},
	verdict.Unsupported:    {analysisType{"Unsupported", "LTN0005"}, "WARNING"},
	verdict.NotActedOn:     {analysisType{"NotActedOn", "LTN0006"}, "WARNING"},
	verdict.Differs:        {analysisType{"Differs", "LTN0007"}, "INFO"},
}

// statusOf makes the status of one object from the verdicts on it; before is the
// status that it has, for the times at which conditions last turned.
func statusOf(list []verdict.Status, generation int64, before *status, now time.Time) status {
	out := status{ObservedGeneration: generation}
	effective := condition{Type: conditionEffective, Status: "True", Reason: string(verdict.Effective), Message: sentences(list)}
	passed := condition{Type: conditionAnalysis, Status: "True", Reason: "noErrorsFound", Message: "No errors found"}
	for _, s := range list {
		if a, ok := analyses[s.Code]; ok && !slices.Contains(out.ValidationMessages, a) {
			out.ValidationMessages = append(out.ValidationMessages, a)
		}
		switch {
		case s.Code == verdict.Invalid:
			passed.Status, passed.Reason, passed.Message = "False", "errorsFound", "Errors found. See validationMessages field for more details"
		case !s.Code.Problem():
			continue
		}
		switch {
		case s.Path == "" && effective.Status == "True":
			effective.Status, effective.Reason = "False", string(s.Code)
		case effective.Reason == string(verdict.Effective):
			effective.Reason = "PartlyEffective"
		}
	}
	slices.SortFunc(out.ValidationMessages, func(a, b analysis) int { return cmp.Compare(a.Type.Code, b.Type.Code) })
	for _, c := range []condition{effective, passed} {
		c.ObservedGeneration = generation
		c.LastTransitionTime = now.UTC().Format(time.RFC3339)
		if before != nil {
			for _, old := range before.Conditions {
				if old.Type == c.Type && old.Status == c.Status && old.LastTransitionTime != "" {
					c.LastTransitionTime = old.LastTransitionTime
				}
			}
		}
		out.Conditions = append(out.Conditions, c)
	}
	return out
}

// sentences joins what verdicts say, as far as it fits.
func sentences(list []verdict.Status) string {
	var b strings.Builder
	for _, s := range list {
		if s.Message == "" {
			continue
		}
		text := s.Message
		if s.Path != "" {
			text = s.Path + ": " + text
		}
		if b.Len()+len(text)+2 > messageLimit {
			fmt.Fprintf(&b, "%s…", separator(&b))
			break
		}
		b.WriteString(separator(&b) + text)
	}
	return b.String()
}

func separator(b *strings.Builder) string {
	if b.Len() == 0 {
		return ""
	}
	return "; "
}

// same reports whether two statuses say the same.
func (s *status) same(o *status) bool {
	return o != nil && s.ObservedGeneration == o.ObservedGeneration && slices.Equal(s.Conditions, o.Conditions) &&
		slices.Equal(s.ValidationMessages, o.ValidationMessages)
}
