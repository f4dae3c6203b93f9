package ops

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Off is above every level: a scope set to it logs nothing.
const Off = slog.Level(100)

// levelNames are the names that users write. They include Envoy's, so that
// scripts for its /logging page work.
var levelNames = map[string]slog.Level{
	"trace": slog.LevelDebug - 4, "debug": slog.LevelDebug, "info": slog.LevelInfo,
	"warn": slog.LevelWarn, "warning": slog.LevelWarn, "error": slog.LevelError,
	"critical": slog.LevelError, "off": Off, "none": Off,
}

// ParseLevel reads a level's name, in any case.
func ParseLevel(name string) (slog.Level, error) {
	if l, ok := levelNames[strings.ToLower(name)]; ok {
		return l, nil
	}
	return 0, fmt.Errorf("log level %q is not known: use trace, debug, info, warning, error or off", name)
}

// LevelName gives the name of a level as Envoy's /logging page writes it.
func LevelName(l slog.Level) string {
	switch {
	case l >= Off:
		return "off"
	case l >= slog.LevelError:
		return "error"
	case l >= slog.LevelWarn:
		return "warning"
	case l >= slog.LevelInfo:
		return "info"
	case l >= slog.LevelDebug:
		return "debug"
	}
	return "trace"
}

// Levels holds the log levels of one process or proxy by scope. It is safe for
// concurrent use, and reading a level takes no lock.
type Levels struct {
	mu   sync.Mutex // serialises writers
	view atomic.Pointer[levelView]
}

// levelView is immutable.
type levelView struct {
	def    slog.Level
	scopes map[string]slog.Level // known scopes; unset ones have inherit
}

const inherit = slog.Level(-1000)

// NewLevels makes levels that start at def for every scope.
func NewLevels(def slog.Level) *Levels {
	l := &Levels{}
	l.view.Store(&levelView{def: def, scopes: map[string]slog.Level{}})
	return l
}

// Level gives the level of a scope.
func (l *Levels) Level(scope string) slog.Level { return l.view.Load().level(scope) }

func (v *levelView) level(scope string) slog.Level {
	if s, ok := v.scopes[scope]; ok && s != inherit {
		return s
	}
	return v.def
}

// Set changes the level of one scope; the scope must be known, that is, used by
// a logger.
func (l *Levels) Set(scope string, level slog.Level) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	if _, ok := v.scopes[scope]; !ok {
		return fmt.Errorf("log scope %q is not known: there are %s", scope, strings.Join(slices.Sorted(maps.Keys(v.scopes)), ", "))
	}
	n := v.clone()
	n.scopes[scope] = level
	l.view.Store(n)
	return nil
}

// SetAll changes the level of every scope.
func (l *Levels) SetAll(level slog.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.view.Load().clone()
	n.def = level
	for s := range n.scopes {
		n.scopes[s] = inherit
	}
	l.view.Store(n)
}

// Apply reads "info" or "info,xds:debug,router:trace", as Istio's
// --proxyLogLevel and --proxyComponentLogLevel are written. Scopes need not be
// known yet.
func (l *Levels) Apply(spec string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.view.Load().clone()
	for part := range strings.SplitSeq(spec, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		scope, name, scoped := strings.Cut(part, ":")
		if !scoped {
			name = part
		}
		level, err := ParseLevel(name)
		if err != nil {
			return err
		}
		if scoped && scope != "default" {
			n.scopes[scope] = level
		} else {
			n.def = level
		}
	}
	l.view.Store(n)
	return nil
}

// All gives the level of every known scope.
func (l *Levels) All() map[string]slog.Level {
	v := l.view.Load()
	out := make(map[string]slog.Level, len(v.scopes))
	for s := range v.scopes {
		out[s] = v.level(s)
	}
	return out
}

// know makes a scope known.
func (l *Levels) know(scope string) {
	if _, ok := l.view.Load().scopes[scope]; ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.view.Load().clone()
	if _, ok := n.scopes[scope]; !ok {
		n.scopes[scope] = inherit
		l.view.Store(n)
	}
}

func (v *levelView) clone() *levelView {
	return &levelView{def: v.def, scopes: maps.Clone(v.scopes)}
}
