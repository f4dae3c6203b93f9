package http2

// nameChar marks the characters of a field name: those of a token without upper
// case (RFC 9113 §8.2.1).
var nameChar = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] = true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// hostChar marks the characters of an authority: a name, an address, a port. User
// information, lists and paths have others.
var hostChar = func() (t [256]bool) {
	t = nameChar
	for c := 'A'; c <= 'Z'; c++ {
		t[c] = true
	}
	for _, c := range ":[]();=" {
		t[c] = true
	}
	for _, c := range "#^`|" {
		t[c] = false
	}
	return t
}()

// validValue reports whether a field's value has neither control characters other
// than HTAB nor white space around it.
func validValue(v []byte) bool {
	for _, c := range v {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	n := len(v)
	return n == 0 || !isSpace(v[0]) && !isSpace(v[n-1])
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func validToken(m []byte) bool {
	for _, c := range m {
		if !nameChar[c] && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return len(m) > 0
}

func validAuthority(h []byte) bool {
	for _, c := range h {
		if !hostChar[c] {
			return false
		}
	}
	return true
}

// validPath accepts an absolute path, and "*" for OPTIONS.
func validPath(p, method []byte) bool {
	if len(p) == 0 {
		return false
	}
	if p[0] != '/' {
		return string(p) == "*" && string(method) == "OPTIONS"
	}
	for _, c := range p {
		if c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return true
}

// parseLength parses 1*DIGIT; -1 if it is anything else or too large.
func parseLength(p []byte) int64 {
	if len(p) == 0 || len(p) > 18 {
		return -1
	}
	var n int64
	for _, c := range p {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}
