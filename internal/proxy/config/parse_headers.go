package config

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/lateen-mesh/lateen/internal/proxy/config/format"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// requestMutations and responseMutations are messages with header operations.
type requestMutations interface {
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
}

type responseMutations interface {
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
}

func requestOps(s *scope, m requestMutations) (HeaderOps, error) {
	return headerOps(s, "request_headers", m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove())
}

func responseOps(s *scope, m responseMutations) (HeaderOps, error) {
	return headerOps(s, "response_headers", m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove())
}

func headerOps(s *scope, prefix string, add []*corev3.HeaderValueOption, remove []string) (HeaderOps, error) {
	var ops HeaderOps
	for i, o := range add {
		a, err := headerAdd(s.item(prefix+"_to_add", i), o)
		if err != nil {
			return ops, err
		}
		ops.Add = append(ops.Add, a)
	}
	for i, name := range remove {
		if err := checkHeaderName(s.item(prefix+"_to_remove", i), name); err != nil {
			return ops, err
		}
		ops.Remove = append(ops.Remove, stream.N(name))
	}
	return ops, nil
}

func headerAdd(s *scope, o *corev3.HeaderValueOption) (HeaderAdd, error) {
	key := o.GetHeader().GetKey()
	if err := checkHeaderName(s.at("header").at("key"), key); err != nil {
		return HeaderAdd{}, err
	}
	value := o.GetHeader().GetValue()
	if raw := o.GetHeader().GetRawValue(); len(raw) > 0 {
		value = string(raw)
	}
	a := HeaderAdd{Name: stream.N(key), Value: value, KeepEmpty: o.GetKeepEmptyValue()}
	switch o.GetAppendAction() {
	case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		a.Action = AddIfAbsent
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		a.Action = OverwriteOrAdd
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		a.Action = OverwriteIfExists
	default:
		return a, s.at("append_action").errorf("value %d is not known", o.GetAppendAction())
	}
	// The deprecated switch, where it is set: false overwrites.
	if o.GetAppend() != nil && !o.GetAppend().GetValue() {
		a.Action = OverwriteOrAdd
	}
	if strings.ContainsAny(value, "\r\n\x00") {
		return a, s.at("header").at("value").errorf("holds a control character")
	}
	if !strings.Contains(value, "%") {
		return a, nil
	}
	var err error
	if a.Format, err = format.Parse(value); err != nil {
		return a, s.at("header").at("value").errorf("%w", err)
	}
	return a, nil
}

// checkHeaderName refuses what is no field name, and the names that belong to the
// request line, which Envoy does not let operations change either.
func checkHeaderName(s *scope, name string) error {
	if name == "" {
		return s.errorf("is empty")
	}
	if name[0] == ':' || strings.EqualFold(name, "host") {
		return s.errorf("%q: pseudo-headers and host cannot be changed", name)
	}
	return checkToken(s, name)
}

// checkToken checks RFC 9110's token, which field names are.
func checkToken(s *scope, name string) error {
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return s.errorf("%q is not a header name", name)
		}
	}
	return nil
}
