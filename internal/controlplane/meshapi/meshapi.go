// Package meshapi is the state of the mesh over HTTP and JSON at a Unix socket:
// what a supervisor tells the control plane (workloads), and what it and people
// read from it (names, proxies). Whoever can open the socket may do everything.
package meshapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// SocketName is the API's socket in the runtime directory.
const SocketName = "mesh.sock"

// Names are the mesh's host names.
type Names = push.Names

// Mesh is what the API serves.
type Mesh interface {
	State
	SetWorkloads([]registry.Workload)
	// SetVerdicts replaces what the supervisor says of objects: what cannot run.
	SetVerdicts([]verdict.Status)
}

// State is the part of the API that reads.
type State interface {
	// Names waits for names newer than the version, or until ctx ends.
	Names(ctx context.Context, version int64) (Names, error)
	Proxies() []push.ProxyStatus
}

const (
	maxBody  = 64 << 20
	longPoll = 30 * time.Second
)

// NewHandler returns the API's handler:
//
//	PUT /v1/workloads               all workloads that there are
//	PUT /v1/verdicts                all that the supervisor says of objects
//	GET /v1/names ?version=N        the names newer than N; waits up to 30 s for them
//	GET /v1/proxies                 the state of every connected proxy
func NewHandler(m Mesh) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/workloads", take("the list of workloads", m.SetWorkloads))
	mux.HandleFunc("PUT /v1/verdicts", take("the list of verdicts", m.SetVerdicts))
	mux.Handle("GET /v1/", NewReader(m))
	return mux
}

// NewReader returns the handler of the part that reads.
func NewReader(m State) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/names", func(w http.ResponseWriter, r *http.Request) {
		version, err := strconv.ParseInt(r.URL.Query().Get("version"), 10, 64)
		if err != nil {
			http.Error(w, "version is not a number", http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), longPoll)
		defer cancel()
		names, err := m.Names(ctx, version)
		if err != nil && r.Context().Err() != nil {
			return // nobody listens any more
		}
		answer(w, names) // after a time-out the old ones
	})
	mux.HandleFunc("GET /v1/proxies", func(w http.ResponseWriter, _ *http.Request) { answer(w, m.Proxies()) })
	return mux
}

// take reads a whole list from a request's body and sets it.
func take[T any](what string, set func([]T)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var list []T
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&list); err != nil {
			http.Error(w, what+": "+err.Error(), http.StatusBadRequest)
			return
		}
		set(list)
		w.WriteHeader(http.StatusNoContent)
	}
}

func answer(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // the client's departure is its own affair
}

// Client calls the API.
type Client struct{ http *http.Client }

// NewClient calls the API at a socket. It holds no connection between calls.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{&http.Client{Transport: &http.Transport{
		// A connection to a control plane that was restarted is good for nothing.
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
	}}}
}

// NewClientOver calls an API that is reached over a transport.
func NewClientOver(t http.RoundTripper) *Client { return &Client{&http.Client{Transport: t}} }

// Page reads a page of the control plane as it is: "/debug/mesh", "/version".
func (c *Client) Page(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, nil)
}

// SetWorkloads tells all workloads that there are.
func (c *Client) SetWorkloads(ctx context.Context, list []registry.Workload) error {
	return c.put(ctx, "/v1/workloads", "the workloads", list)
}

// SetVerdicts tells all that the supervisor says of objects.
func (c *Client) SetVerdicts(ctx context.Context, list []verdict.Status) error {
	return c.put(ctx, "/v1/verdicts", "verdicts", list)
}

func (c *Client) put(ctx context.Context, path, what string, list any) error {
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if _, err = c.do(ctx, http.MethodPut, path, body); err != nil {
		return fmt.Errorf("telling the control plane %s: %w", what, err)
	}
	return nil
}

// Names waits for names newer than the version; it may return older ones after a
// while.
func (c *Client) Names(ctx context.Context, version int64) (n Names, err error) {
	text, err := c.do(ctx, http.MethodGet, "/v1/names?version="+strconv.FormatInt(version, 10), nil)
	if err != nil {
		return n, err
	}
	return n, json.Unmarshal(text, &n)
}

// Proxies tells the state of every connected proxy.
func (c *Client) Proxies(ctx context.Context) (list []push.ProxyStatus, err error) {
	text, err := c.do(ctx, http.MethodGet, "/v1/proxies", nil)
	if err != nil {
		return nil, err
	}
	return list, json.Unmarshal(text, &list)
}

func (c *Client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://mesh"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("the control plane answered %s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return text, nil
}

// API asks the console's API ("/api/graph?view=app") and gives its answer.
func (c *Client) API(ctx context.Context, path string) ([]byte, error) {
	body, err := c.Stream(ctx, path)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// Stream asks the console's API for an answer that comes in parts, until it is closed
// or ctx ends.
func (c *Client) Stream(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://mesh"+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Host = "localhost" // the console answers to no other name
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	var failure struct{ Problems []struct{ Message string } }
	if json.Unmarshal(text, &failure) == nil && len(failure.Problems) > 0 {
		return nil, errors.New(failure.Problems[0].Message)
	}
	return nil, fmt.Errorf("the control plane answered %s: %s", resp.Status, bytes.TrimSpace(text))
}

// ConfigDump gives what a proxy should have, in the form of Envoy's /config_dump.
// The name is that of ProxyStatus.
func (c *Client) ConfigDump(ctx context.Context, proxy string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, "/debug/config_dump?proxyID="+url.QueryEscape(proxy), nil)
}
