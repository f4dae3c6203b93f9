package configapi

import (
	"net/http"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// gravity orders verdicts: the first that an object has is the one of the whole.
var gravity = []verdict.Code{
	verdict.Invalid, verdict.Unsupported, verdict.NotActedOn, verdict.Shadowed,
	verdict.Waiting, verdict.SelectsNothing, verdict.Differs, verdict.Effective,
}

func (h *handler) status(r *http.Request) (any, error) {
	if h.Statuses == nil {
		return nil, refuse(http.StatusServiceUnavailable, "no control plane is connected to this store")
	}
	q, err := parseQuery(r)
	if err != nil {
		return nil, err
	}
	verdicts, compiled := h.Statuses.Statuses()
	byRef := map[verdict.Ref][]verdict.Status{}
	for _, s := range verdicts {
		byRef[s.Ref] = append(byRef[s.Ref], s)
	}
	objects, revision := h.Store.Snapshot()
	list := StatusList{Revision: revision, Compiled: compiled, Objects: []ObjectStatus{}}
	for _, o := range objects {
		if q.selects(o.Ref(), o.Meta.Labels) {
			list.Objects = append(list.Objects, objectStatus(o, byRef[o.Ref()], compiled))
		}
	}
	if q.Name != "" && q.kind != nil && len(list.Objects) == 0 {
		return nil, refuse(http.StatusNotFound, "%s %q not found", q.kind.Resource(), q.Name)
	}
	if h.Files != nil {
		list.Files = h.Files()
	}
	return list, nil
}

// objectStatus sums up the verdicts on one object. An object newer than what the
// control plane has compiled waits for it.
func objectStatus(o *api.Object, verdicts []verdict.Status, compiled int64) ObjectStatus {
	s := ObjectStatus{
		Kind: o.Kind.Name, Namespace: o.Meta.Namespace, Name: o.Meta.Name,
		Generation: o.Meta.Generation, Verdict: verdict.Effective,
	}
	if o.Meta.Created != 0 {
		s.Created = time.Unix(0, o.Meta.Created).UTC()
	}
	for _, v := range verdicts {
		f := FieldStatus{Code: v.Code, Path: v.Path, Message: v.Message}
		if !v.By.IsZero() {
			f.By = v.By.String()
		}
		s.Details = append(s.Details, f)
	}
	switch {
	case o.Meta.Version > compiled:
		s.Verdict = verdict.Waiting
		s.Details = []FieldStatus{{Code: verdict.Waiting, Message: "the control plane has not read this version yet"}}
	default:
		s.Verdict = gravest(verdicts)
		if code, message, idle := o.Kind.Idle(); idle && len(verdicts) == 0 {
			s.Verdict, s.Details = code, []FieldStatus{{Code: code, Message: message}}
		}
	}
	return s
}

func gravest(verdicts []verdict.Status) verdict.Code {
	for _, code := range gravity {
		for _, v := range verdicts {
			if v.Code == code {
				return code
			}
		}
	}
	return verdict.Effective
}
