package stream

import (
	"errors"
	"io"
)

// Response makes the response that a codec writes for the reply.
func (r *Reply) Response() *Response {
	status := r.Status
	if status < 200 || status > 599 {
		status = 500
	}
	resp := &Response{Status: status, Local: r, Length: int64(len(r.Body))}
	if len(r.Body) > 0 {
		resp.AddString(ContentType, "text/plain")
		resp.Body = NewBody([]byte(r.Body))
	}
	for _, kv := range r.Headers {
		resp.AddRaw([]byte(kv[0]), []byte(kv[1]))
	}
	return resp
}

// Answer makes the response of a handler that returned none but err, unless that is an
// error that cuts the stream.
func Answer(err error) (*Response, error) {
	if err == nil {
		err = NewReply(500, Reason{Code: Internal, Detail: "handler without a response"})
	}
	var l *Reply
	if !errors.As(err, &l) {
		return nil, err
	}
	return l.Response(), nil
}

// ReasonOf finds the reason in an error of a handler or a body.
func ReasonOf(err error) Reason {
	var r Reason
	var l *Reply
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &l):
		return l.Reason
	case errors.Is(err, io.ErrUnexpectedEOF):
		return Reason{Code: UpstreamReset, Detail: err.Error()}
	}
	return Reason{Code: Internal, Detail: err.Error()}
}
