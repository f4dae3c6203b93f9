package analysis_test

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/doctor/analysis"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

const objects = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{name: http, port: 9080}], selector: {app: reviews}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews, subset: v9}}]
  - route: [{destination: {host: reviews}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: ["*"]
  gateways: [ghost]
  http: [{route: [{destination: {host: nobody}}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: wrong}
spec: {portLevelMtls: {80: {mode: STRICT}}}
`

func TestObjects(t *testing.T) {
	list, err := api.Decode(strings.NewReader(objects), "x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := analysis.Objects(list, func(*api.Object) bool { return true }, false)
	analysis.Sort(found)
	var text strings.Builder
	for _, m := range found {
		text.WriteString(m.String() + "\n")
	}
	for _, want := range []string{
		"Error [IST0101] (VirtualService default/edge x.yaml:21) spec.gateways[0]: the gateway default/ghost does not exist",
		"Error [IST0101] (VirtualService default/edge",
		"no DestinationRule defines the subset v9",
		"nobody.default.svc.cluster.local is not known",
		"Error [IST0106] (PeerAuthentication default/wrong",
		"Warning [IST0130] (VirtualService default/reviews",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	if few := analysis.Objects(list, func(o *api.Object) bool { return o.Kind.Name == "Service" }, false); len(few) != 0 {
		t.Errorf("the service alone: %v", few)
	}
}

func TestSuppression(t *testing.T) {
	m := analysis.Verdicts([]verdict.Status{{
		Origin: verdict.Origin{Ref: verdict.Ref{Kind: "VirtualService", Namespace: "default", Name: "reviews"}},
		Code:   verdict.Waiting, Message: "the host a is not known",
	}})[0]
	for text, want := range map[string]bool{
		"IST0101=VirtualService reviews.default": true, "ist0101=VirtualService *.default": true, "IST0101=*": true,
		"IST0102=VirtualService reviews.default": false, "IST0101=Service *": false, "IST0101=VirtualService reviews": false,
	} {
		s, err := analysis.ParseSuppression(text)
		if err != nil {
			t.Fatal(err)
		}
		if s.Matches(m) != want {
			t.Errorf("%s: %v", text, !want)
		}
	}
	if _, err := analysis.ParseSuppression("IST0101"); err == nil {
		t.Error("a code alone is read")
	}
}

// TestEveryCodeHasAWord: a code in the table without a text would be listed blank.
func TestEveryCodeHasAWord(t *testing.T) {
	for _, c := range analysis.Codes() {
		if c.Name == "" || c.About == "" {
			t.Errorf("%+v", c)
		}
	}
}
