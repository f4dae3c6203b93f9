// Package webhook answers the API server when somebody writes the mesh's
// configuration: what is wrong is refused with the reason, what is dubious is
// taken with a warning that kubectl shows.
package webhook

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	admission "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/api/validate"
)

const (
	// maxReview bounds a review: an object is at most 1.5 MiB in etcd, and a review
	// holds it twice, in JSON.
	maxReview = 16 << 20
	// The API server drops warnings of more than 4096 bytes in all, and cuts each at
	// 256 (Kubernetes, "Dynamic Admission Control", response).
	maxWarning  = 250
	maxWarnings = 4000
)

// Validation configures NewValidation.
type Validation struct {
	Log     *slog.Logger          // nil: silent
	Metrics prometheus.Registerer // nil: none
}

type validation struct {
	log    *slog.Logger
	passed *prometheus.CounterVec
	failed *prometheus.CounterVec
}

// NewValidation returns the handler of /validate: AdmissionReview v1 of objects of
// Istio's API and the Gateway API. Refused are objects that do not decode, that
// have unknown fields, or that break a rule of package validate. Never refused are
// deletions, changes of an object that is being deleted, and changes that leave a
// spec as it was: whoever must remove a finalizer or a label from an object that
// older rules let in can do so.
func NewValidation(v Validation) http.Handler {
	h := &validation{log: v.Log}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	labels := []string{"group", "version", "resource"}
	h.passed = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "galley_validation_passed", Help: "Objects that were taken."}, labels)
	h.failed = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "galley_validation_failed", Help: "Objects that were refused."}, append(labels, "reason"))
	if v.Metrics != nil {
		v.Metrics.MustRegister(h.passed, h.failed)
	}
	return h
}

// ServeHTTP implements http.Handler.
func (h *validation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReview))
	if err != nil {
		http.Error(w, "reading the review: "+err.Error(), http.StatusBadRequest)
		return
	}
	review, err := parseReview(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response := h.judge(review.Request)
	response.UID = review.Request.UID
	text, err := json.Marshal(admission.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // the API server's departure is its own affair
}

func parseReview(body []byte) (*admission.AdmissionReview, error) {
	var r admission.AdmissionReview
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("the body is not an AdmissionReview: %w", err)
	}
	if r.APIVersion != admission.SchemeGroupVersion.String() || r.Kind != "AdmissionReview" {
		return nil, fmt.Errorf("the body is %s %s, want %s AdmissionReview", r.APIVersion, r.Kind, admission.SchemeGroupVersion)
	}
	if r.Request == nil {
		return nil, errors.New("the review has no request")
	}
	return &r, nil
}

// judge answers one review.
func (h *validation) judge(r *admission.AdmissionRequest) *admission.AdmissionResponse {
	if (r.Operation != admission.Create && r.Operation != admission.Update) || r.SubResource != "" || leaving(r.Object.Raw) {
		return &admission.AdmissionResponse{Allowed: true}
	}
	errs, warnings, reason := Judge(r.Object.Raw, r.Namespace)
	if len(errs) > 0 && r.Operation == admission.Update && sameSpec(r.OldObject.Raw, r.Object.Raw) {
		// The object is wrong and was so before: only what is said of it changes.
		warnings, errs = append(warnings, errs...), nil
	}
	res := r.Resource
	if len(errs) == 0 {
		h.passed.WithLabelValues(res.Group, res.Version, res.Resource).Inc()
		return &admission.AdmissionResponse{Allowed: true, Warnings: bounded(warnings)}
	}
	h.failed.WithLabelValues(res.Group, res.Version, res.Resource, reason).Inc()
	h.log.Info("object refused", "kind", r.Kind.Kind, "namespace", r.Namespace, "name", r.Name, "user", r.UserInfo.Username, "err", errs[0])
	return &admission.AdmissionResponse{
		Allowed: false, Warnings: bounded(warnings),
		Result: &metav1.Status{Status: metav1.StatusFailure, Message: strings.Join(errs, "; "), Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity},
	}
}

// leaving reports whether an object is being deleted.
func leaving(raw []byte) bool {
	var o metav1.PartialObjectMetadata
	return json.Unmarshal(raw, &o) == nil && o.DeletionTimestamp != nil
}

// sameSpec reports whether two objects differ in their metadata and status only.
// It compares the JSON: what is wrong does not decode.
func sameSpec(old, now []byte) bool {
	strip := func(raw []byte) (map[string]any, bool) {
		var o map[string]any
		if err := json.Unmarshal(raw, &o); err != nil {
			return nil, false
		}
		delete(o, "metadata")
		delete(o, "status")
		delete(o, "apiVersion") // another version of the same content
		return o, true
	}
	a, aok := strip(old)
	b, bok := strip(now)
	if !aok || !bok {
		return false
	}
	x, errx := json.Marshal(a) // keys are sorted
	y, erry := json.Marshal(b)
	return errx == nil && erry == nil && string(x) == string(y)
}

// Judge says what is wrong with an object in JSON, and what is dubious. reason is a
// word for metrics.
func Judge(raw []byte, namespace string) (errs, warnings []string, reason string) {
	list, err := api.DecodeIn(strings.NewReader(string(raw)), "", cmp.Or(namespace, api.DefaultNamespace))
	if err != nil {
		for _, e := range api.DecodeErrors(err) {
			errs = append(errs, sentence(e.Path, e.Msg))
		}
		return errs, nil, "invalid_resource"
	}
	for _, o := range list {
		for _, e := range validate.Object(o) {
			errs = append(errs, sentence(e.Path, e.Msg))
		}
		for _, e := range validate.Warnings(o) {
			warnings = append(warnings, sentence(e.Path, e.Msg))
		}
		if _, message, idle := o.Kind.Idle(); idle {
			warnings = append(warnings, message)
		}
	}
	return errs, warnings, "validation"
}

func sentence(path, msg string) string {
	if path == "" {
		return msg
	}
	return path + ": " + msg
}

// bounded keeps warnings within what the API server hands on.
func bounded(list []string) []string {
	var out []string
	size := 0
	for i, w := range list {
		if len(w) > maxWarning {
			w = strings.ToValidUTF8(w[:maxWarning], "") + "…"
		}
		if size += len(w); size > maxWarnings {
			return append(out, fmt.Sprintf("and %d more", len(list)-i))
		}
		out = append(out, w)
	}
	return out
}
