package ops

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// ScopeKey is the attribute that names a logger's scope.
const ScopeKey = "scope"

// Scope gives a logger of the named scope: its level is that scope's.
func Scope(log *slog.Logger, name string) *slog.Logger { return log.With(ScopeKey, name) }

// Form is the form of log lines.
type Form uint8

const (
	Text Form = iota // "2026-11-21T10:00:00.000000Z\tinfo\tscope\tmessage\tkey=value"
	JSON             // {"time":…,"level":…,"scope":…,"msg":…,…}
)

// ParseForm reads "text" or "json"; anything else is text.
func ParseForm(name string) Form {
	if strings.EqualFold(name, "json") {
		return JSON
	}
	return Text
}

// NewLogger makes a logger that writes lines to w, each with one call. Levels
// decide what is written, at every call. nil levels are info for all.
func NewLogger(w io.Writer, form Form, levels *Levels) *slog.Logger {
	if levels == nil {
		levels = NewLevels(slog.LevelInfo)
	}
	levels.know("default")
	return slog.New(&handler{out: &output{w: w}, form: form, levels: levels, scope: "default"})
}

// Discard is a logger that writes nothing.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

type output struct {
	mu  sync.Mutex
	w   io.Writer // guarded by mu
	buf []byte    // guarded by mu
}

// handler is immutable; With makes copies.
type handler struct {
	out    *output
	form   Form
	levels *Levels
	scope  string
	prefix string // "group." of open groups
	attrs  []byte // attributes of With, rendered
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.levels.Level(h.scope) }

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.prefix += name + "."
	return &c
}

// WithAttrs implements slog.Handler. The attribute "scope" sets the scope.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = h.attrs[:len(h.attrs):len(h.attrs)]
	for _, a := range attrs {
		if a.Key == ScopeKey && h.prefix == "" && a.Value.Kind() == slog.KindString {
			c.scope = a.Value.String()
			h.levels.know(c.scope)
			continue
		}
		c.attrs = h.appendAttr(c.attrs, h.prefix, a)
	}
	return &c
}

// Handle implements slog.Handler.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	b := h.appendStart(h.out.buf[:0], &r)
	b = append(b, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		b = h.appendAttr(b, h.prefix, a)
		return true
	})
	if h.form == JSON {
		b = append(b, '}')
	}
	b = append(b, '\n')
	if cap(b) <= 16<<10 {
		h.out.buf = b
	}
	_, err := h.out.w.Write(b)
	return err
}

const timeLayout = "2006-01-02T15:04:05.000000Z"

func (h *handler) appendStart(b []byte, r *slog.Record) []byte {
	if h.form == JSON {
		b = append(b, `{"time":"`...)
		b = r.Time.UTC().AppendFormat(b, timeLayout)
		b = append(b, `","level":"`...)
		b = append(b, LevelName(r.Level)...)
		b = append(b, `","scope":`...)
		b = appendJSON(b, h.scope)
		b = append(b, `,"msg":`...)
		return appendJSON(b, r.Message)
	}
	b = r.Time.UTC().AppendFormat(b, timeLayout)
	b = append(b, '\t')
	b = append(b, LevelName(r.Level)...)
	b = append(b, '\t')
	b = append(b, h.scope...)
	b = append(b, '\t')
	return append(b, strings.ReplaceAll(r.Message, "\n", `\n`)...)
}

func (h *handler) appendAttr(b []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, g := range v.Group() {
			b = h.appendAttr(b, prefix, g)
		}
		return b
	}
	if a.Key == "" {
		return b
	}
	if h.form == JSON {
		b = append(b, ',')
		b = appendJSON(b, prefix+a.Key)
		b = append(b, ':')
		return appendJSONValue(b, v)
	}
	b = append(b, '\t')
	b = append(b, prefix...)
	b = append(b, a.Key...)
	b = append(b, '=')
	return appendText(b, valueText(v))
}

func valueText(v slog.Value) string {
	if v.Kind() == slog.KindTime {
		return v.Time().UTC().Format(time.RFC3339Nano)
	}
	return v.String()
}

// appendText quotes what would break the line's structure.
func appendText(b []byte, s string) []byte {
	quote := s == "" || strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || r == '"' || r == '=' || !unicode.IsPrint(r)
	})
	if quote {
		return strconv.AppendQuote(b, s)
	}
	return append(b, s...)
}

func appendJSON(b []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil { // cannot be: strings always marshal
		return strconv.AppendQuote(b, s)
	}
	return append(b, text...)
}

func appendJSONValue(b []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindInt64, slog.KindUint64, slog.KindBool:
		return append(b, v.String()...)
	case slog.KindFloat64:
		if text, err := json.Marshal(v.Float64()); err == nil {
			return append(b, text...)
		}
	}
	return appendJSON(b, valueText(v))
}
