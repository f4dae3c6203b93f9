package behave

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// apply applies a file of the case, and waits until it is in force:
// apply FILE [refused TEXT] [rejected TEXT]. "refused" expects that the objects are
// not taken, "rejected" that the proxy refuses what was made of them.
func (r *run) apply(s *statement) {
	name, rest, _ := strings.Cut(s.args, " ")
	body, ok := r.c.files[name]
	if !ok {
		r.fail(s, "the case has no file %q", name)
	}
	_, err := r.bed.apply(name, body)
	if why, ok := strings.CutPrefix(rest, "refused"); ok {
		if err == nil {
			r.fail(s, "it was taken")
		}
		if !strings.Contains(err.Error(), text(strings.TrimSpace(why))) {
			r.fail(s, "refused with %q", err)
		}
		return
	}
	if err == nil {
		err = r.bed.inForce(r.cell)
	}
	if err != nil {
		r.fail(s, "%v", err)
	}
}

// remove deletes what a file brought, or one object: delete FILE, or delete KIND
// [NAMESPACE/]NAME.
func (r *run) remove(s *statement) {
	refs := r.bed.files[s.args]
	if kind, name, ok := strings.Cut(s.args, " "); ok {
		ref, err := refOf(kind, name)
		if err != nil {
			r.fail(s, "%v", err)
		}
		refs = []verdict.Ref{ref}
	}
	_, err := r.bed.store.Delete(refs)
	if err == nil && len(refs) == 0 {
		err = errors.New("nothing of that name was applied")
	}
	if err == nil {
		err = r.bed.inForce(r.cell)
	}
	if err != nil {
		r.fail(s, "%v", err)
	}
}

func refOf(kind, name string) (verdict.Ref, error) {
	k, err := api.ParseKind(kind)
	if err != nil {
		return verdict.Ref{}, err
	}
	ref := verdict.Ref{Kind: k.ID(), Namespace: "default", Name: name}
	if ns, n, ok := strings.Cut(name, "/"); ok {
		ref.Namespace, ref.Name = ns, n
	}
	if k.ClusterScoped {
		ref.Namespace = ""
	}
	return ref, nil
}

// verdict reads KIND [NAMESPACE/]NAME CODE [TEXT]: a verdict of that code on the
// object or on a field of it, with the text in its line; "no CODE" is absence.
func (r *run) verdict(s *statement) {
	f := strings.Fields(s.args)
	if len(f) < 3 {
		r.fail(s, "want verdict KIND NAME [no] CODE [TEXT]")
	}
	ref, err := refOf(f[0], f[1])
	if err != nil {
		r.fail(s, "%v", err)
	}
	absent := f[2] == "no" && len(f) > 3
	rest := f[2:]
	if absent {
		rest = f[3:]
	}
	want := text(strings.TrimSpace(strings.Join(rest[1:], " ")))
	list, _ := r.bed.core.Statuses()
	var lines []string
	found := false
	for _, st := range list {
		if st.Ref != ref {
			continue
		}
		lines = append(lines, st.String())
		found = found || string(st.Code) == rest[0] && strings.Contains(st.String(), want)
	}
	if found == absent {
		r.fail(s, "the verdicts are:\n%s", strings.Join(lines, "\n"))
	}
}

// workload changes a workload: workload NAME up|down|ready|unready|gone, or
// workload NAME KEY=VALUE... for its labels.
func (r *run) workload(s *statement) {
	f := strings.Fields(s.args)
	if len(f) < 2 {
		r.fail(s, "want workload NAME CHANGE")
	}
	any := false
	for i := range r.c.workloads {
		if ok, _ := path.Match(f[0], r.c.workloads[i].name); ok {
			any = true
			if err := r.changeWorkload(&r.c.workloads[i], f[1:]); err != nil {
				r.fail(s, "%v", err)
			}
		}
	}
	if !any {
		r.fail(s, "the case has no workload %s", f[0])
	}
	r.bed.tell()
	if err := r.bed.inForce(r.cell); err != nil {
		r.fail(s, "%v", err)
	}
}

func (r *run) changeWorkload(w *workload, change []string) error {
	known := -1
	for i := range r.bed.workloads {
		if x := &r.bed.workloads[i]; x.Name == w.name && x.Namespace == w.namespace {
			known = i
		}
	}
	switch change[0] {
	case "down", "up":
		for _, s := range r.bed.world.matching(w.name) {
			s.down()
			if change[0] == "down" {
				continue
			}
			for _, p := range w.ports {
				if err := s.listen(r.bed.world.ns, netip.AddrPortFrom(w.addr, p)); err != nil {
					return err
				}
			}
		}
		return nil
	case "gone":
		if known >= 0 {
			r.bed.workloads = append(r.bed.workloads[:known:known], r.bed.workloads[known+1:]...)
		}
		return nil
	case "back":
		if known < 0 {
			r.bed.workloads = append(r.bed.workloads, w.registered())
		}
		return nil
	}
	if known < 0 {
		return fmt.Errorf("%s is not of the mesh", w.name)
	}
	list := append(r.bed.workloads[:0:0], r.bed.workloads...)
	x := &list[known]
	switch change[0] {
	case "ready", "unready":
		x.Ready = change[0] == "ready"
	default:
		x.Labels = map[string]string{}
		for _, kv := range change {
			k, v, _ := strings.Cut(kv, "=")
			x.Labels[k] = v
		}
	}
	r.bed.workloads = list
	return nil
}

// backend scripts the answers of servers: backend PATTERN [always] OUTCOME, ...
// An OUTCOME is ok, status N [NAME: VALUE], delay D [OUTCOME], reset, close, hang,
// half, grpc N [MESSAGE], body TEXT; "xN" behind it repeats it. "backend PATTERN clear"
// forgets.
func (r *run) backend(s *statement) {
	pattern, rest, _ := strings.Cut(s.args, " ")
	servers := r.bed.world.matching(pattern)
	if len(servers) == 0 {
		r.fail(s, "no server is called %s", pattern)
	}
	rest, always := strings.CutPrefix(rest, "always ")
	var list []outcome
	if rest != "clear" {
		for part := range strings.SplitSeq(rest, ", ") {
			o, n, err := parseOutcome(strings.TrimSpace(part))
			if err != nil {
				r.fail(s, "%v", err)
			}
			for range n {
				list = append(list, o)
			}
		}
	}
	for _, srv := range servers {
		if always {
			srv.set(nil, &list[0])
		} else {
			srv.set(list, nil)
		}
	}
}

var times = regexp.MustCompile(` x(\d+)$`)

func parseOutcome(part string) (o outcome, n int, err error) {
	n = 1
	if m := times.FindStringSubmatch(part); m != nil {
		n, _ = strconv.Atoi(m[1]) // digits
		part = strings.TrimSuffix(part, m[0])
	}
	kind, rest, _ := strings.Cut(part, " ")
	o.kind = kind
	switch kind {
	case "ok", "reset", "close", "hang", "half":
	case "status", "grpc":
		code, more, _ := strings.Cut(rest, " ")
		if o.code, err = strconv.Atoi(code); err != nil {
			return o, n, err
		}
		if kind == "grpc" {
			o.body = text(more)
		} else if name, value, ok := strings.Cut(more, ": "); ok {
			o.headers = append(o.headers, [2]string{name, value})
		}
	case "header":
		name, value, _ := strings.Cut(rest, ": ")
		o.kind, o.headers = "ok", [][2]string{{name, value}}
	case "body":
		o.kind, o.body = "ok", text(rest)
	case "delay":
		d, more, _ := strings.Cut(rest, " ")
		delay, err := time.ParseDuration(d)
		if err != nil {
			return o, n, err
		}
		if more == "" {
			more = "ok"
		}
		o, _, err = parseOutcome(more)
		o.delay = delay
		return o, n, err
	default:
		err = fmt.Errorf("outcome %q is not known", part)
	}
	return o, n, err
}

// tcp opens a connection and speaks: tcp HOST:PORT, with the lines send TEXT,
// expect TEXT, expect ~ PATTERN, eof (the other side ended), reset, half (ends its own
// direction), wait DURATION, refused, silent DURATION.
func (r *run) tcp(s *statement) {
	q := &request{scheme: "tcp"}
	if err := q.target(s.args); err != nil {
		r.fail(s, "%v", err)
	}
	var script []line
	for _, l := range r.mine(s) {
		switch l.verb {
		case "via", "sni", "as":
			if _, err := r.option(q, l); err != nil {
				r.fail(s, "line %d: %v", l.line, err)
			}
		default:
			script = append(script, l)
		}
	}
	if !q.via.IsValid() {
		at, err := r.destination(q.host, q.port)
		if err != nil {
			r.fail(s, "%v", err)
		}
		q.via = at
	}
	c, err := r.open(q)
	if len(script) > 0 && script[0].verb == "refused" {
		if err == nil {
			c.Close()
			r.fail(s, "it connected")
		}
		return
	}
	if err != nil {
		r.fail(s, "%v", err)
	}
	defer c.Close()
	for _, l := range script {
		if msg := r.tcpStep(c, l); msg != "" {
			r.fail(s, "line %d: %s %s: %s", l.line, l.verb, l.args, msg)
		}
	}
}

func (r *run) tcpStep(c net.Conn, l line) string {
	_ = c.SetDeadline(time.Now().Add(patience))
	switch l.verb {
	case "send":
		if _, err := io.WriteString(c, text(l.args)); err != nil {
			return err.Error()
		}
	case "expect":
		return expectBytes(c, l.args)
	case "silent", "wait":
		d, err := time.ParseDuration(l.args)
		if err != nil {
			return err.Error()
		}
		if l.verb == "wait" {
			time.Sleep(d)
			return ""
		}
		_ = c.SetDeadline(time.Now().Add(d))
		b := make([]byte, 1000)
		if n, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Sprintf("read %q, %v", b[:n], err)
		}
	case "half":
		if h, ok := c.(interface{ CloseWrite() error }); ok {
			if err := h.CloseWrite(); err != nil {
				return err.Error()
			}
		}
	case "eof", "reset":
		b := make([]byte, 1000)
		n, err := c.Read(b)
		if n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) || (l.verb == "reset") != errors.Is(err, syscall.ECONNRESET) {
			return fmt.Sprintf("read %q, %v", b[:n], err)
		}
	default:
		return "the script's language has no such line"
	}
	return ""
}

// expectBytes reads as many bytes as are wanted, or for a pattern until it matches.
func expectBytes(c net.Conn, args string) string {
	pattern, isPattern := strings.CutPrefix(args, "~ ")
	if !isPattern {
		want := text(args)
		b := make([]byte, len(want))
		n, err := io.ReadFull(c, b)
		if string(b[:n]) != want {
			return fmt.Sprintf("read %q, %v", b[:n], err)
		}
		return ""
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err.Error()
	}
	var got []byte
	for b := make([]byte, 4096); !re.Match(got); {
		n, err := c.Read(b)
		got = append(got, b[:n]...)
		if err != nil && !re.Match(got) {
			return fmt.Sprintf("read %q, %v", got, err)
		}
	}
	return ""
}
