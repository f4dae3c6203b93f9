// Package configapi is the local configuration API: HTTP and JSON over a Unix
// socket, behind `lateen apply`, `delete`, `get` and `status`. It serves a store,
// and tells what became of objects through small interfaces that the control
// plane implements.
package configapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Store is what the API needs of a store.Store.
type Store interface {
	Snapshot() ([]*api.Object, int64)
	Apply([]*api.Object) (store.Result, error)
	Plan([]*api.Object) (store.Result, error)
	Delete([]verdict.Ref) (store.Result, error)
	PlanDelete([]verdict.Ref) (store.Result, error)
}

// Statuses tells the verdicts of the control plane.
type Statuses interface {
	// Statuses returns the verdicts on all objects, sorted, and the store's
	// revision that they were made from. Objects without one are effective.
	Statuses() ([]verdict.Status, int64)
}

// Progress tells how far the proxies are.
type Progress interface {
	// Wait blocks until every connected proxy has the store's revision in force
	// or has refused it, or until ctx ends. When ctx ends, it returns the report of that
	// moment, with the slow proxies as Pending, and no error; an error means that
	// the control plane cannot tell.
	Wait(ctx context.Context, revision int64) (Report, error)
}

// Report says how far each proxy is with a revision.
type Report struct {
	Revision int64         `json:"revision"`
	Proxies  []ProxyReport `json:"proxies"` // sorted by Proxy
}

// Done reports whether every proxy has the revision in force.
func (r Report) Done() bool {
	for _, p := range r.Proxies {
		if p.State != InForce {
			return false
		}
	}
	return true
}

// ProxyReport is the state of one proxy.
type ProxyReport struct {
	Proxy  string     `json:"proxy"` // "reviews-v1-0.default"
	State  ProxyState `json:"state"`
	Reason string     `json:"reason,omitempty"` // of a refusal; of a pending one what it waits for
	// Object is the object that a refused resource was made from; "" if unknown.
	Object string `json:"object,omitempty"`
}

// ProxyState is the closed set of states of a proxy.
type ProxyState string

// The states.
const (
	InForce  ProxyState = "in-force"
	Rejected ProxyState = "rejected" // NACK; the proxy goes on with what it had
	Pending  ProxyState = "pending"
)

// Deps are what the handler serves.
type Deps struct {
	Store    Store
	Statuses Statuses
	Progress Progress
	// Files tells the state of watched files; nil if none are watched.
	Files func() []store.FileStatus
	// Log may be nil.
	Log *slog.Logger
}

// The types below are the API's JSON.

// File is one input of an apply request.
type File struct {
	Name    string `json:"name"`    // for messages
	Content []byte `json:"content"` // base64 in JSON: mistakes of encoding must arrive as they are
}

// Request is the body of POST /v1/apply and POST /v1/delete with content type
// FilesType: several inputs that are applied together or not at all.
type Request struct {
	Files []File `json:"files"`
}

// FilesType is the content type of a Request.
const FilesType = "application/vnd.lateen.files+json"

// Change is the outcome for one object.
type Change struct {
	Kind      string `json:"kind"`
	Resource  string `json:"resource"` // "virtualservice.networking.istio.io"
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Change    string `json:"change"` // created, configured, unchanged, deleted
}

// Changes is the answer to apply and delete.
type Changes struct {
	Revision int64     `json:"revision"` // to wait for
	DryRun   bool      `json:"dryRun,omitempty"`
	Objects  []Change  `json:"objects"`
	Warnings []Problem `json:"warnings,omitempty"`
	// Missing are the objects that were to be deleted and do not exist.
	Missing []Problem `json:"missing,omitempty"`
}

// Problem is one mistake or warning.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Object  string `json:"object,omitempty"` // "VirtualService default/reviews"
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

// Failure is the body of every answer with a 4xx or 5xx status.
type Failure struct {
	Status   int       `json:"status"`
	Problems []Problem `json:"problems"`
}

// ObjectList is the answer to GET /v1/objects.
type ObjectList struct {
	Revision int64             `json:"revision"`
	Items    []json.RawMessage `json:"items"` // as api.EncodeJSON gives them
}

// StatusList is the answer to GET /v1/status.
type StatusList struct {
	Revision int64              `json:"revision"` // of the store
	Compiled int64              `json:"compiled"` // that the verdicts were made from
	Objects  []ObjectStatus     `json:"objects"`
	Files    []store.FileStatus `json:"files,omitempty"`
}

// ObjectStatus holds the verdicts on one object; those on its fields name them.
type ObjectStatus struct {
	Kind       string        `json:"kind"`
	Namespace  string        `json:"namespace,omitempty"`
	Name       string        `json:"name"`
	Generation int64         `json:"generation,omitempty"`
	Created    time.Time     `json:"created,omitzero"`
	Verdict    verdict.Code  `json:"verdict"` // the gravest
	Details    []FieldStatus `json:"details,omitempty"`
}

// FieldStatus is one verdict.
type FieldStatus struct {
	Code    verdict.Code `json:"code"`
	Path    string       `json:"path,omitempty"`
	Message string       `json:"message,omitempty"`
	By      string       `json:"by,omitempty"`
}
