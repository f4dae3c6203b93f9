package cni

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// serviceAccount is where the kubelet puts a pod's credentials; it renews the
// token there.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// API is a small client of the API server, with the pod's own service account.
// Token and root are read anew for every request and connection.
type API struct {
	base  string // https://host:port
	dir   string // of token and ca.crt
	http  *http.Client
	watch *http.Client // without a time limit
}

// InCluster makes a client from a pod's environment.
func InCluster(getenv func(string) string) (*API, error) {
	host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("this is no pod: KUBERNETES_SERVICE_HOST and _PORT are not set")
	}
	return newAPI("https://"+net.JoinHostPort(host, port), serviceAccount), nil
}

func newAPI(base, dir string) *API {
	a := &API{base: base, dir: dir}
	transport := &http.Transport{DialTLSContext: a.dial, IdleConnTimeout: 30 * time.Second, ResponseHeaderTimeout: 10 * time.Second}
	a.http = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	a.watch = &http.Client{Transport: transport}
	return a
}

func (a *API) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	pem, err := os.ReadFile(filepath.Join(a.dir, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("the API server's root: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("the API server's root: no certificate in ca.crt")
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return d.DialContext(ctx, network, addr)
}

// statusError is a refusal of the API server.
type statusError struct {
	code    int
	message string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the API server answers %d: %s", e.code, e.message)
}

// isStatus tells whether the API server refused with one of the codes.
func isStatus(err error, codes ...int) bool {
	var s *statusError
	if !errors.As(err, &s) {
		return false
	}
	for _, c := range codes {
		if s.code == c {
			return true
		}
	}
	return false
}

// patchType is the form of a patch.
type patchType string

const (
	mergePatch patchType = "application/merge-patch+json"
	jsonPatch  patchType = "application/json-patch+json"
)

// do sends a request and decodes the answer into out, unless that is nil.
func (a *API) do(ctx context.Context, method, path string, contentType string, in, out any) error {
	resp, err := a.send(ctx, a.http, method, path, contentType, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

func (a *API) send(ctx context.Context, c *http.Client, method, path, contentType string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(filepath.Join(a.dir, "token"))
	if err != nil {
		return nil, fmt.Errorf("the service account's token: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	var s struct {
		Message string `json:"message"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, maxMessage)).Decode(&s) != nil || s.Message == "" {
		s.Message = http.StatusText(resp.StatusCode)
	}
	return nil, &statusError{resp.StatusCode, s.Message}
}

// Pod reads a pod.
func (a *API) Pod(ctx context.Context, namespace, name string) (*Pod, error) {
	var p Pod
	return &p, a.do(ctx, http.MethodGet, podPath(namespace, name), "", nil, &p)
}

func podPath(namespace, name string) string {
	return "/api/v1/namespaces/" + url.PathEscape(namespace) + "/pods/" + url.PathEscape(name)
}

// DeletePod deletes this pod, and no later one of its name.
func (a *API) DeletePod(ctx context.Context, p *Pod) error {
	return a.do(ctx, http.MethodDelete, podPath(p.Metadata.Namespace, p.Metadata.Name), "application/json",
		map[string]any{"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": map[string]string{"uid": p.Metadata.UID}}, nil)
}

// LabelPod sets a label. It goes by the status subresource, which asks for the
// smaller permission.
func (a *API) LabelPod(ctx context.Context, p *Pod, key, value string) error {
	return a.do(ctx, http.MethodPatch, podPath(p.Metadata.Namespace, p.Metadata.Name)+"/status", string(mergePatch),
		map[string]any{"metadata": map[string]any{"uid": p.Metadata.UID, "labels": map[string]string{key: value}}}, nil)
}

// WatchPods calls f with every pod of the node and each change of one, until the
// server ends the watch or ctx ends.
func (a *API) WatchPods(ctx context.Context, node string, f func(p *Pod, deleted bool)) error {
	query := url.Values{"fieldSelector": {"spec.nodeName=" + node}, "resourceVersion": {"0"}}
	var list struct {
		Metadata Metadata `json:"metadata"`
		Items    []Pod    `json:"items"`
	}
	if err := a.do(ctx, http.MethodGet, "/api/v1/pods?"+query.Encode(), "", nil, &list); err != nil {
		return fmt.Errorf("listing the node's pods: %w", err)
	}
	for i := range list.Items {
		f(&list.Items[i], false)
	}
	query.Set("resourceVersion", list.Metadata.ResourceVersion)
	query.Set("watch", "true")
	query.Set("timeoutSeconds", "300")
	resp, err := a.send(ctx, a.watch, http.MethodGet, "/api/v1/pods?"+query.Encode(), "", nil)
	if err != nil {
		return fmt.Errorf("watching the node's pods: %w", err)
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var event struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		switch err := d.Decode(&event); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("watching the node's pods: %w", err)
		case event.Type == "ERROR":
			return nil // too old a version, mostly: list again
		}
		var p Pod
		if err := json.Unmarshal(event.Object, &p); err != nil {
			return fmt.Errorf("watching the node's pods: %w", err)
		}
		f(&p, event.Type == "DELETED")
	}
}

// DaemonSetStands tells whether the agent's DaemonSet is there to stay. A server
// that no longer knows the agent's account is no different from one that deleted
// the DaemonSet: the parts of an installation go in no certain order.
func (a *API) DaemonSetStands(ctx context.Context, namespace, name string) (bool, error) {
	var set struct {
		Metadata Metadata `json:"metadata"`
	}
	err := a.do(ctx, http.MethodGet, "/apis/apps/v1/namespaces/"+url.PathEscape(namespace)+"/daemonsets/"+url.PathEscape(name), "", nil, &set)
	switch {
	case isStatus(err, http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden):
		return false, nil
	case err != nil:
		return false, err
	}
	return set.Metadata.DeletionTimestamp == "", nil
}

// NotReadyTaint keeps pods from a node until its agent is there.
const NotReadyTaint = "cni.istio.io/not-ready"

// Untaint removes the taint from the node, and says whether it was there.
func (a *API) Untaint(ctx context.Context, node string) (bool, error) {
	var n struct {
		Spec struct {
			Taints []map[string]any `json:"taints"`
		} `json:"spec"`
	}
	path := "/api/v1/nodes/" + url.PathEscape(node)
	if err := a.do(ctx, http.MethodGet, path, "", nil, &n); err != nil {
		return false, err
	}
	var patch []map[string]any
	for i := len(n.Spec.Taints) - 1; i >= 0; i-- { // from the end: places stay right
		if n.Spec.Taints[i]["key"] == NotReadyTaint {
			place := fmt.Sprintf("/spec/taints/%d", i)
			patch = append(patch, map[string]any{"op": "test", "path": place, "value": n.Spec.Taints[i]}, map[string]any{"op": "remove", "path": place})
		}
	}
	if patch == nil {
		return false, nil
	}
	return true, a.do(ctx, http.MethodPatch, path, string(jsonPatch), patch, nil)
}
