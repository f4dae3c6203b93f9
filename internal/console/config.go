package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// configCaller calls the handler of configapi in this process.
type configCaller struct{ handler http.Handler }

// recorded is an answer in memory.
type recorded struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorded) Header() http.Header { return r.header }

func (r *recorded) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorded) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

// call asks for a path with the body of r, and reads the answer into to. A refusal is
// a *configapi.Error.
func (c configCaller) call(r *http.Request, method, path string, query url.Values, body io.Reader, to any) error {
	req, err := http.NewRequestWithContext(r.Context(), method, path+"?"+query.Encode(), body)
	if err != nil {
		return err
	}
	rec := &recorded{header: http.Header{}}
	c.handler.ServeHTTP(rec, req)
	if rec.status != http.StatusOK {
		var e configapi.Error
		if err := json.Unmarshal(rec.body.Bytes(), &e.Failure); err != nil || len(e.Problems) == 0 {
			return fmt.Errorf("the configuration API answered %d", rec.status)
		}
		return &e
	}
	return json.Unmarshal(rec.body.Bytes(), to)
}

// only copies the named parameters of a request.
func only(r *http.Request, names ...string) url.Values {
	out := url.Values{}
	for _, n := range names {
		if v := r.URL.Query().Get(n); v != "" {
			out.Set(n, v)
		}
	}
	return out
}

func (c *Console) objects(r *http.Request) (any, error) {
	var list configapi.StatusList
	err := c.config.call(r, http.MethodGet, "/v1/status", only(r, "kind", "namespace"), http.NoBody, &list)
	return list, err
}

// objectView is one object with all that is known of it.
type objectView struct {
	configapi.ObjectStatus
	YAML    string                  `json:"yaml"`
	Object  json.RawMessage         `json:"object"`
	InForce int                     `json:"inForce"`
	Proxies int                     `json:"proxies"`
	Refused []configapi.ProxyReport `json:"refused,omitempty"`
}

// named reads which object a request's path names.
func named(r *http.Request) url.Values {
	q := url.Values{"kind": {r.PathValue("kind")}, "name": {r.PathValue("name")}}
	if ns := r.PathValue("namespace"); ns != "-" {
		q.Set("namespace", ns)
	}
	return q
}

func (c *Console) object(r *http.Request) (any, error) {
	var list configapi.ObjectList
	q := named(r)
	if err := c.config.call(r, http.MethodGet, "/v1/objects", q, http.NoBody, &list); err != nil {
		return nil, err
	}
	var statuses configapi.StatusList
	if err := c.config.call(r, http.MethodGet, "/v1/status", q, http.NoBody, &statuses); err != nil {
		return nil, err
	}
	if len(list.Items) != 1 || len(statuses.Objects) != 1 {
		return nil, refuse(http.StatusNotFound, "%s %q not found", q.Get("kind"), q.Get("name"))
	}
	v := objectView{ObjectStatus: statuses.Objects[0]}
	var err error
	if v.YAML, v.Object, err = shown(list.Items[0]); err != nil {
		return nil, err
	}
	var report configapi.Report
	at := url.Values{"revision": {strconv.FormatInt(statuses.Compiled, 10)}, "timeout": {"1ms"}}
	if err := c.config.call(r, http.MethodGet, "/v1/wait", at, http.NoBody, &report); err != nil {
		return v, nil // nothing is compiled yet: nobody has it in force
	}
	ref := verdict.Ref{Kind: v.Kind, Namespace: v.Namespace, Name: v.Name}.String()
	for _, p := range report.Proxies {
		switch v.Proxies++; {
		case p.State == configapi.InForce:
			v.InForce++
		case p.State == configapi.Rejected && p.Object == ref:
			v.Refused = append(v.Refused, p)
		}
	}
	return v, nil
}

// withheld stands for the values of a Secret, which no page needs.
const withheld = "withheld"

// shown gives an object as YAML and as JSON. The contents of Secrets stay here.
func shown(object json.RawMessage) (text string, doc json.RawMessage, err error) {
	var fields map[string]any
	if err := json.Unmarshal(object, &fields); err != nil {
		return "", nil, err
	}
	if fields["kind"] == api.KindSecret {
		for _, field := range []string{"data", "stringData"} {
			values, _ := fields[field].(map[string]any)
			for key := range values {
				values[key] = withheld
			}
		}
	}
	if doc, err = json.Marshal(fields); err != nil {
		return "", nil, err
	}
	y, err := yaml.Marshal(fields)
	return string(y), doc, err
}

func (c *Console) deleteObject(r *http.Request) (any, error) {
	q := named(r)
	if d := r.URL.Query().Get("dryRun"); d != "" {
		q.Set("dryRun", d)
	}
	var changes configapi.Changes
	if err := c.config.call(r, http.MethodDelete, "/v1/objects", q, http.NoBody, &changes); err != nil {
		return nil, err
	}
	if len(changes.Objects) == 0 && len(changes.Missing) > 0 {
		return nil, &configapi.Error{Failure: configapi.Failure{Status: http.StatusNotFound, Problems: changes.Missing}}
	}
	return changes, nil
}

func (c *Console) apply(r *http.Request) (any, error) {
	var changes configapi.Changes
	err := c.config.call(r, http.MethodPost, "/v1/apply", only(r, "dryRun", "namespace", "file"), r.Body, &changes)
	return changes, err
}

// validation is what is found in objects that nobody applies.
type validation struct {
	Valid    bool                     `json:"valid"`
	Problems []configapi.Problem      `json:"problems"`
	Warnings []configapi.Problem      `json:"warnings"`
	Objects  []configapi.Change       `json:"objects"`
	Verdicts []configapi.ObjectStatus `json:"verdicts"`
}

func (c *Console) validate(r *http.Request) (any, error) {
	q := only(r, "namespace", "file")
	q.Set("dryRun", "true")
	var changes configapi.Changes
	err := c.config.call(r, http.MethodPost, "/v1/apply", q, r.Body, &changes)
	v := validation{Problems: []configapi.Problem{}, Warnings: []configapi.Problem{}, Objects: []configapi.Change{}, Verdicts: []configapi.ObjectStatus{}}
	var refused *configapi.Error
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusRequestEntityTooLarge:
		return nil, err
	case errors.As(err, &refused):
		v.Problems = refused.Problems
		return v, nil
	case err != nil:
		return nil, err
	}
	v.Valid, v.Objects = true, changes.Objects
	v.Warnings = append(v.Warnings, changes.Warnings...)
	return v, nil
}

func (c *Console) wait(r *http.Request) (any, error) {
	var report configapi.Report
	err := c.config.call(r, http.MethodGet, "/v1/wait", only(r, "revision", "timeout"), http.NoBody, &report)
	return report, err
}
