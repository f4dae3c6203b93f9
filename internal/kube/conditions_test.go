package kube

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

func TestStatusOf(t *testing.T) {
	ref := verdict.Ref{Kind: "VirtualService", Namespace: "n", Name: "r"}
	say := func(path string, code verdict.Code, msg string) verdict.Status {
		return verdict.Status{Origin: verdict.Origin{Ref: ref, Generation: 3, Path: path}, Code: code, Message: msg}
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name   string
		list   []verdict.Status
		want   string // Effective: status, reason, message; PassedAnalysis: status
		levels string
	}{
		{"effective", []verdict.Status{say("", verdict.Effective, "")}, "True Effective  | True", ""},
		{"in part", []verdict.Status{say("", verdict.Effective, ""), say("spec.x", verdict.NotActedOn, "not yet")}, "True PartlyEffective spec.x: not yet | True", "WARNING"},
		{"another way", []verdict.Status{say("", verdict.Effective, ""), say("spec.x", verdict.Differs, "so")}, "True Effective spec.x: so | True", "INFO"},
		{"shadowed", []verdict.Status{say("", verdict.Shadowed, "by another"), say("spec.x", verdict.Waiting, "for y")}, "False Shadowed by another; spec.x: for y | True", "WARNING WARNING"},
		{"invalid in part", []verdict.Status{say("spec.x", verdict.Invalid, "bad"), say("spec.y", verdict.Invalid, "bad too")}, "True PartlyEffective spec.x: bad; spec.y: bad too | False", "ERROR"},
		{"invalid", []verdict.Status{say("", verdict.Invalid, "bad"), say("spec.y", verdict.Invalid, "here")}, "False Invalid bad; spec.y: here | False", "ERROR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := statusOf(c.list, 3, nil, now)
			e, p := got.Conditions[0], got.Conditions[1]
			if line := strings.Join([]string{e.Status, e.Reason, e.Message, "|", p.Status}, " "); line != c.want {
				t.Errorf("got %q, want %q", line, c.want)
			}
			var levels []string
			for _, m := range got.ValidationMessages {
				levels = append(levels, m.Level)
			}
			if l := strings.Join(levels, " "); l != c.levels {
				t.Errorf("levels %q, want %q", l, c.levels)
			}
			if e.LastTransitionTime != "2026-01-02T03:04:05Z" || e.ObservedGeneration != 3 || got.ObservedGeneration != 3 {
				t.Errorf("%+v", got)
			}
			// It survives the way through the server, and then nothing is to be written.
			again := statusOf(c.list, 3, throughServer(t, got), now.Add(time.Hour))
			if !again.same(&got) {
				t.Error(cmp.Diff(got, again))
			}
		})
	}
}

func throughServer(t *testing.T, s status) *status {
	t.Helper()
	data, err := json.Marshal(map[string]any{"apiVersion": "a/v1", "kind": "K", "status": s})
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	out := statusIn(u)
	return &out
}

// TestTransition: the time moves when the status turns, not when its reason does.
func TestTransition(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC) }
	one := statusOf([]verdict.Status{{Code: verdict.Effective}}, 1, nil, at(1))
	two := statusOf([]verdict.Status{{Origin: verdict.Origin{Path: "x"}, Code: verdict.Waiting, Message: "m"}}, 2, &one, at(2))
	three := statusOf([]verdict.Status{{Code: verdict.Shadowed, Message: "m"}}, 3, &two, at(3))
	for i, want := range []string{"01", "01", "03"} {
		if got := []status{one, two, three}[i].Conditions[0].LastTransitionTime; got != "2026-01-01T"+want+":00:00Z" {
			t.Errorf("step %d: %s", i+1, got)
		}
	}
	if one.same(&two) || !one.same(&one) || one.same(nil) {
		t.Error("statuses are compared wrongly")
	}
}

func TestSentencesAreBounded(t *testing.T) {
	var list []verdict.Status
	for range 100 {
		list = append(list, verdict.Status{Message: strings.Repeat("x", 50)})
	}
	if got := sentences(list); len(got) > messageLimit+10 || !strings.HasSuffix(got, "; …") {
		t.Errorf("%d bytes: …%s", len(got), got[len(got)-10:])
	}
}
