package behave

import (
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// judge holds results against expectations and says what is wrong.
func (r *run) judge(s *statement, want []line, results []*result) (wrong []string) {
	status, failure := false, false
	for _, l := range want {
		status = status || l.verb == "status" || l.verb == "grpc" || l.verb == "count" || l.verb == "split"
		failure = failure || l.verb == "error"
	}
	for i, x := range results {
		var bad []string
		switch {
		case failure:
		case x.err != nil:
			bad = append(bad, x.err.Error())
		case !status && x.status != 200:
			bad = append(bad, fmt.Sprintf("status %d, want 200", x.status))
		}
		for _, l := range want {
			f, ok := expectations[l.verb]
			if !ok {
				continue
			}
			if msg := f(r, x, l.args); msg != "" {
				bad = append(bad, fmt.Sprintf("line %d: %s", l.line, msg))
			}
		}
		if len(bad) > 0 {
			if len(results) > 1 {
				bad[0] = fmt.Sprintf("request %d of %d: %s", i+1, len(results), bad[0])
				bad = append(bad, "its answer: "+x.String())
			}
			wrong = append(wrong, bad...)
			break
		}
	}
	for _, l := range want {
		f, ok := totals[l.verb]
		if !ok {
			if expectations[l.verb] == nil {
				wrong = append(wrong, fmt.Sprintf("line %d: the script's language has no %q", l.line, l.verb))
			}
			continue
		}
		if msg := f(r, results, l.args); msg != "" {
			wrong = append(wrong, fmt.Sprintf("line %d: %s", l.line, msg))
		}
	}
	return wrong
}

// expectations hold for every result of a statement. They return what is wrong.
var expectations = map[string]func(r *run, x *result, args string) string{
	"status": func(_ *run, x *result, args string) string { return equal("status", strconv.Itoa(x.status), args) },
	"from": func(_ *run, x *result, args string) string {
		return matches("the workload that answered", x.from(), args)
	},
	"error": func(_ *run, x *result, args string) string {
		if x.err == nil {
			return fmt.Sprintf("status %d, want no answer", x.status)
		}
		if !strings.Contains(x.err.Error(), text(args)) {
			return fmt.Sprintf("the error is %q, want %q in it", x.err, text(args))
		}
		return ""
	},
	"header":  func(_ *run, x *result, args string) string { return checkHeader(x.header, args) },
	"trailer": func(_ *run, x *result, args string) string { return checkHeader(x.trailer, args) },
	"no":      expectNo,
	"body":    func(_ *run, x *result, args string) string { return checkText("the body", string(x.body), args) },
	"size": func(_ *run, x *result, args string) string {
		return equal("the body's size", strconv.Itoa(len(x.body)), args)
	},
	"interim": func(_ *run, x *result, args string) string {
		return equal("interim responses", strings.Trim(fmt.Sprint(x.interim), "[]"), args)
	},
	"seen": expectSeen,
	"took": expectTook,
	"log":  expectLog,
	"grpc": expectGRPC,
	"reused": func(_ *run, x *result, args string) string {
		if !x.reused {
			return "the connection was not used again"
		}
		return ""
	},
}

func equal(what, got, want string) string {
	if got != want {
		return fmt.Sprintf("%s is %s, want %s", what, got, want)
	}
	return ""
}

func matches(what, got, pattern string) string {
	if ok, err := path.Match(pattern, got); err != nil || !ok {
		return fmt.Sprintf("%s is %q, want %q", what, got, pattern)
	}
	return ""
}

// checkText compares with a quoted or plain text, "contains TEXT" or "~ PATTERN".
func checkText(what, got, args string) string {
	if part, ok := strings.CutPrefix(args, "contains "); ok {
		if !strings.Contains(got, text(part)) {
			return fmt.Sprintf("%s is %q, want %q in it", what, got, text(part))
		}
		return ""
	}
	if pattern, ok := strings.CutPrefix(args, "~ "); ok {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return err.Error()
		}
		if !re.MatchString(got) {
			return fmt.Sprintf("%s is %q, want a match of %s", what, got, pattern)
		}
		return ""
	}
	if got != text(args) {
		return fmt.Sprintf("%s is %q, want %q", what, got, text(args))
	}
	return ""
}

// values finds a header in any case.
func values(h map[string][]string, name string) (list []string) {
	for k, v := range h {
		if strings.EqualFold(k, name) {
			list = append(list, v...)
		}
	}
	return list
}

func checkHeader(h map[string][]string, args string) string {
	w, err := parseWanted(args)
	if err != nil {
		return err.Error()
	}
	return w.check(values(h, w.name))
}

func expectNo(r *run, x *result, args string) string {
	what, name, _ := strings.Cut(args, " ")
	var h map[string][]string
	switch what {
	case "header":
		h = x.header
	case "trailer":
		h = x.trailer
	case "seen":
		rec := r.recordOf(x)
		if rec == nil {
			return "no server saw the request"
		}
		h, name = rec.Headers, strings.TrimPrefix(name, "header ")
	case "backend":
		if rec := r.recordOf(x); rec != nil {
			return "it reached " + rec.Workload
		}
		return ""
	default:
		return "want no header|trailer|seen NAME, or no backend"
	}
	if v := values(h, name); len(v) > 0 {
		return fmt.Sprintf("%s %s is %q, want none", what, name, v)
	}
	return ""
}

// recordsOf are what servers saw of a request, by its user agent.
func (r *run) recordsOf(x *result) (list []*record) {
	for _, rec := range r.bed.world.since(r.mark) {
		if a := rec.Headers["User-Agent"]; len(a) == 1 && a[0] == x.agent {
			list = append(list, rec)
		}
	}
	return list
}

// recordOf is what the server saw that answered, or, where none did, the last one.
func (r *run) recordOf(x *result) (found *record) {
	for _, rec := range r.recordsOf(x) {
		if from := x.from(); from == "" || rec.Workload == from {
			found = rec
		}
	}
	return found
}

// expectSeen compares what the server saw that answered.
func expectSeen(r *run, x *result, args string) string {
	rec := r.recordOf(x)
	if rec == nil {
		return "no server saw the request"
	}
	return checkRecord(rec, args)
}

func checkRecord(rec *record, args string) string {
	what, rest, _ := strings.Cut(args, " ")
	switch what {
	case "header":
		return checkHeader(rec.Headers, rest)
	case "trailer":
		return checkHeader(rec.Trailers, rest)
	case "path":
		return checkText("the path that the server saw", rec.Path, rest)
	case "host":
		return checkText("the host that the server saw", rec.Host, rest)
	case "method":
		return equal("the method that the server saw", rec.Method, rest)
	case "proto":
		return equal("the protocol that the server saw", rec.Proto, rest)
	case "size":
		return equal("the size that the server saw", strconv.Itoa(rec.Size), rest)
	case "port":
		return equal("the port that was called", strconv.Itoa(int(rec.Port)), rest)
	case "tls":
		return checkText("the handshake's server name", rec.TLS, rest)
	case "peer":
		return checkText("the client's identity", rec.Peer, rest)
	}
	return fmt.Sprintf("servers do not see %q", what)
}

func expectTook(_ *run, x *result, args string) string {
	bound, value, _ := strings.Cut(args, " ")
	d, err := time.ParseDuration(value)
	switch {
	case err != nil:
		return err.Error()
	case bound == ">=" && x.took < d, bound == "<=" && x.took > d:
		return fmt.Sprintf("it took %v, want %s", x.took.Round(time.Millisecond), args)
	case bound != ">=" && bound != "<=":
		return "want took >=|<= DURATION"
	}
	return ""
}

// grpcStatus is that of a call: in the trailers, or in the headers of a response of
// trailers alone.
func grpcStatus(x *result) (code, message string) {
	for _, h := range []http.Header{x.trailer, x.header} {
		if v := h.Get("grpc-status"); v != "" {
			return v, h.Get("grpc-message")
		}
	}
	return "none", ""
}

func expectGRPC(_ *run, x *result, args string) string {
	code, message := grpcStatus(x)
	want, rest, more := strings.Cut(args, " ")
	if code != want {
		return fmt.Sprintf("grpc-status is %s (%s), want %s", code, message, want)
	}
	if more {
		return checkText("grpc-message", message, rest)
	}
	return ""
}

// logFields are the places of fields in the access log's default format.
var logFields = map[string]int{"code": 2, "flags": 3, "details": 4, "termination": 5, "failure": 6, "received": 7, "sent": 8, "authority": 14, "upstream": 15, "cluster": 16, "sni": 20, "route": 21}

var logTokens = regexp.MustCompile(`"[^"]*"|\[[^\]]*\]|\S+`)

// logLine waits for the line of a request in the access log.
func (r *run) logLine(agent string, wait time.Duration) string {
	for deadline := time.Now().Add(wait); ; time.Sleep(5 * time.Millisecond) {
		for line := range strings.Lines(r.cell.log.String()) {
			if strings.Contains(line, `"`+agent+`"`) {
				return line
			}
		}
		if !time.Now().Before(deadline) {
			return ""
		}
	}
}

func expectLog(r *run, x *result, args string) string {
	line := r.logLine(x.agent, 12*time.Second)
	if line == "" {
		return "the access log has no line of the request"
	}
	return checkLog(line, args)
}

func checkLog(line, args string) string {
	field, rest, _ := strings.Cut(args, " ")
	tokens := logTokens.FindAllString(line, -1)
	i, ok := logFields[field]
	if !ok || i >= len(tokens) {
		return fmt.Sprintf("the access log has no %q: %s", field, line)
	}
	return checkText(field+" in the access log", strings.Trim(tokens[i], `"`), rest)
}
