package inject

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	admission "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// maxReview bounds a review: the API server's own limit for objects is 3 MiB, and a
// review has one.
const maxReview = 8 << 20

type webhook struct{ deps Deps }

// ServeHTTP answers one review. Mistakes of the pod deny it, with a message that
// names them. What fails for other reasons is an HTTP error, so that failurePolicy
// decides whether pods are created without a proxy.
func (h *webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST an AdmissionReview", http.StatusMethodNotAllowed)
		return
	}
	env, err := urlVariables(r.URL.Path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReview))
	if err != nil {
		http.Error(w, "reading the review: "+err.Error(), http.StatusBadRequest)
		return
	}
	review, pod, err := readReview(text)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	in := h.deps.Injector()
	if in == nil {
		http.Error(w, "the injector has no configuration yet", http.StatusServiceUnavailable)
		return
	}
	out, response, err := h.answer(in, review.Request, pod, env)
	h.report(r.Context(), out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	response.UID = review.Request.UID
	body, err := json.Marshal(&admission.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(body); err != nil {
		h.deps.Log.Debug("answer not taken", "error", err)
	}
}

// readReview reads a review of the creation of a pod.
func readReview(text []byte) (*admission.AdmissionReview, *corev1.Pod, error) {
	review := &admission.AdmissionReview{}
	if err := json.Unmarshal(text, review); err != nil {
		return nil, nil, fmt.Errorf("reading the review: %w", err)
	}
	if review.APIVersion != admission.SchemeGroupVersion.String() || review.Kind != "AdmissionReview" || review.Request == nil {
		return nil, nil, fmt.Errorf("not a request of an AdmissionReview of %s", admission.SchemeGroupVersion)
	}
	if kind := review.Request.Kind; kind.Group != "" || kind.Kind != "Pod" {
		return nil, nil, fmt.Errorf("the review is of a %s, only pods are injected", kind.Kind)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(review.Request.Object.Raw, pod); err != nil {
		return nil, nil, fmt.Errorf("reading the pod of the review: %w", err)
	}
	return review, pod, nil
}

// answer injects the pod. The error is that of our own configuration.
func (h *webhook) answer(in *Injector, req *admission.AdmissionRequest, pod *corev1.Pod, env map[string]string) (Outcome, *admission.AdmissionResponse, error) {
	ns, ok := h.deps.Namespace(req.Namespace)
	if !ok {
		ns = Namespace{Name: req.Namespace}
	}
	r := Request{Pod: pod, Namespace: ns, Env: env}
	if h.deps.ProxyConfigs != nil {
		r.ProxyConfigs = h.deps.ProxyConfigs()
	}
	out := Outcome{
		Pod:   verdict.Ref{Kind: "Pod", Namespace: req.Namespace, Name: podName(&pod.ObjectMeta)},
		Owner: metav1.GetControllerOf(pod), DryRun: req.DryRun != nil && *req.DryRun,
	}
	result, err := in.Inject(r)
	out.Decision, out.Verdicts, out.Err = result.Decision, result.Verdicts, err
	var mistake *UserError
	switch {
	case errors.As(err, &mistake):
		return out, &admission.AdmissionResponse{Result: &metav1.Status{
			Status: metav1.StatusFailure, Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity, Message: "sidecar injection: " + err.Error(),
		}}, nil
	case err != nil:
		return out, nil, err
	}
	response := &admission.AdmissionResponse{Allowed: true}
	if !result.Decision.Inject {
		return out, response, nil
	}
	patch, err := podPatch(req.Object.Raw, pod, result.Pod)
	if err != nil {
		out.Err = err
		return out, nil, err
	}
	for _, v := range result.Verdicts {
		if v.Code.Problem() {
			response.Warnings = append(response.Warnings, v.Path+": "+v.Message)
		}
	}
	kind := admission.PatchTypeJSONPatch
	response.Patch, response.PatchType = patch, &kind
	return out, response, nil
}

func (h *webhook) report(ctx context.Context, out Outcome) {
	level, what := slog.LevelDebug, "pod not injected"
	switch {
	case out.Err != nil:
		level, what = slog.LevelWarn, "injection failed"
	case out.Decision.Inject:
		level, what = slog.LevelInfo, "pod injected"
	}
	h.deps.Log.Log(ctx, level, what, "namespace", out.Pod.Namespace, "pod", out.Pod.Name, "reason", out.Decision.Reason, "error", out.Err)
	if h.deps.Report != nil {
		h.deps.Report(out)
	}
}

// urlVariables reads the segments after /inject: pairs of names and values, "cluster"
// and "net" being those of Istio; --slash-- stands for a slash.
func urlVariables(path string) (map[string]string, error) {
	rest := strings.Trim(strings.TrimPrefix(path, "/inject"), "/")
	if rest == "" {
		return nil, nil
	}
	parts := strings.Split(rest, "/")
	if len(parts)%2 != 0 {
		return nil, fmt.Errorf("the path %q has a name without a value", path)
	}
	out := map[string]string{}
	for i := 0; i < len(parts); i += 2 {
		name := strings.ToUpper(parts[i])
		switch parts[i] {
		case "cluster":
			name = envCluster
		case "net":
			name = envNetwork
		}
		out[name] = strings.ReplaceAll(parts[i+1], "--slash--", "/")
	}
	return out, nil
}
