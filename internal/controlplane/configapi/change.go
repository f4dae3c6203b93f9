package configapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// readFiles gives the inputs of a request: its body, or the files in it.
func readFiles(r *http.Request) ([]File, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, refuse(http.StatusRequestEntityTooLarge, "the input is larger than %d MiB", maxBody>>20)
		}
		return nil, refuse(http.StatusBadRequest, "reading the request failed: %s", err)
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == FilesType {
		var req Request
		if err := json.Unmarshal(body, &req); err != nil {
			return nil, refuse(http.StatusBadRequest, "the request is not valid JSON: %s", err)
		}
		return req.Files, nil
	}
	name := r.URL.Query().Get("file")
	if name == "" {
		name = "-"
	}
	return []File{{Name: name, Content: body}}, nil
}

// decode reads all objects of a request. Mistakes of all files are reported
// together.
func decode(r *http.Request) ([]*api.Object, []Problem, error) {
	files, err := readFiles(r)
	if err != nil {
		return nil, nil, err
	}
	namespace := r.URL.Query().Get("namespace")
	fallback := namespace
	if fallback == "" {
		fallback = api.DefaultNamespace
	}
	var objects []*api.Object
	var problems []Problem
	for _, f := range files {
		list, err := api.DecodeIn(bytes.NewReader(f.Content), f.Name, fallback)
		for _, e := range api.DecodeErrors(err) {
			problems = append(problems, Problem{File: e.File, Line: e.Line, Object: e.Object, Path: e.Path, Message: e.Msg})
		}
		objects = append(objects, list...)
	}
	for _, o := range objects {
		if namespace != "" && o.Meta.Namespace != "" && o.Meta.Namespace != namespace {
			problems = append(problems, problemOf(o, "metadata.namespace", fmt.Sprintf("the namespace of the object does not match the namespace %q of the command line", namespace)))
		}
	}
	return objects, problems, nil
}

func problemOf(o *api.Object, path, msg string) Problem {
	return Problem{File: o.Source.File, Line: o.Source.LineOf(path), Object: o.Ref().String(), Path: path, Message: msg}
}

func (h *handler) apply(r *http.Request) (any, error) {
	objects, problems, err := decode(r)
	if err != nil {
		return nil, err
	}
	var warnings []Problem
	for _, o := range objects {
		for _, e := range validate.Object(o) {
			problems = append(problems, problemOf(o, e.Path, e.Msg))
		}
		for _, w := range validate.Warnings(o) {
			warnings = append(warnings, problemOf(o, w.Path, w.Msg))
		}
		if _, message, idle := o.Kind.Idle(); idle {
			warnings = append(warnings, problemOf(o, "", message))
		}
	}
	if len(problems) > 0 {
		return nil, &Error{Failure{Status: http.StatusUnprocessableEntity, Problems: problems}}
	}
	if len(objects) == 0 {
		return nil, refuse(http.StatusUnprocessableEntity, "no objects passed to apply")
	}
	dry := dryRun(r)
	do := h.Store.Apply
	if dry {
		do = h.Store.Plan
	}
	result, err := do(objects)
	if err != nil {
		return nil, refused(err, http.StatusUnprocessableEntity)
	}
	return changes(result, dry, warnings), nil
}

func dryRun(r *http.Request) bool { return r.URL.Query().Get("dryRun") == "true" }

func changes(result store.Result, dry bool, warnings []Problem) Changes {
	c := Changes{Revision: result.Revision, DryRun: dry, Objects: []Change{}, Warnings: warnings}
	for _, o := range result.Outcomes {
		c.Objects = append(c.Objects, Change{
			Kind: o.Object.Kind.Name, Resource: o.Object.Kind.Resource(),
			Namespace: o.Object.Meta.Namespace, Name: o.Object.Meta.Name, Change: string(o.Change),
		})
	}
	return c
}

// refused turns the errors of the store into an answer. What is none of the
// user's mistakes (a full disk) stays as it is.
func refused(err error, status int) error {
	var problems []Problem
	for _, e := range flatten(err) {
		var field *validate.FieldError
		var conflict *store.ConflictError
		var missing *store.NotFoundError
		switch {
		case errors.As(e, &field):
			problems = append(problems, Problem{File: field.File, Line: field.Line, Object: field.Ref.String(), Path: field.Path, Message: field.Msg})
		case errors.As(e, &conflict):
			status = http.StatusConflict
			problems = append(problems, Problem{Object: conflict.Ref.String(), Message: conflict.Msg})
		case errors.As(e, &missing):
			problems = append(problems, notFound(missing.Ref))
		default:
			return err
		}
	}
	return &Error{Failure{Status: status, Problems: problems}}
}

// notFound words a missing object as kubectl does.
func notFound(ref verdict.Ref) Problem {
	resource := ref.Kind
	if k := api.KindNamed(ref.Kind); k != nil {
		resource = k.Resource()
	}
	return Problem{Message: fmt.Sprintf("%s %q not found", resource, ref.Name)}
}

func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	return []error{err}
}

func (h *handler) deleteFiles(r *http.Request) (any, error) {
	objects, problems, err := decode(r)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, &Error{Failure{Status: http.StatusUnprocessableEntity, Problems: problems}}
	}
	var refs []verdict.Ref
	for _, o := range objects {
		refs = append(refs, o.Ref())
	}
	return h.remove(refs, dryRun(r))
}

func (h *handler) deleteObjects(r *http.Request) (any, error) {
	q, err := parseQuery(r)
	if err != nil {
		return nil, err
	}
	if q.kind == nil {
		return nil, refuse(http.StatusBadRequest, "a kind is required")
	}
	var refs []verdict.Ref
	if q.Name != "" {
		ref := verdict.Ref{Kind: q.Kind, Namespace: q.Namespace, Name: q.Name}
		if q.kind.ClusterScoped {
			ref.Namespace = ""
		} else if ref.Namespace == "" {
			ref.Namespace = api.DefaultNamespace
		}
		refs = append(refs, ref)
	} else {
		all, _ := h.Store.Snapshot()
		for _, o := range all {
			if q.selects(o.Ref(), o.Meta.Labels) {
				refs = append(refs, o.Ref())
			}
		}
	}
	return h.remove(refs, dryRun(r))
}

func (h *handler) remove(refs []verdict.Ref, dry bool) (any, error) {
	do := h.Store.Delete
	if dry {
		do = h.Store.PlanDelete
	}
	result, err := do(refs)
	c := changes(result, dry, nil)
	for _, e := range flatten(err) {
		var missing *store.NotFoundError
		switch {
		case e == nil:
		case errors.As(e, &missing):
			c.Missing = append(c.Missing, notFound(missing.Ref))
		default:
			return nil, refused(err, http.StatusConflict)
		}
	}
	return c, nil
}
