package wire

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// DemandType is the type of questions in ADS: a proxy that takes configuration on
// demand subscribes, in its incremental stream, to a resource whose name says what
// its workload is about to call. The answer comes when all that the call needs is in
// force in the proxy, and again when it changes.
const DemandType = "type.googleapis.com/lateen.wire.v1.Demand"

// DemandReady is the name whose answer says that the control plane answers at all.
// A proxy asks for it first, and until the answer is there takes what it is given
// for everything.
const DemandReady = "ready"

// The kinds of questions, before a slash.
const (
	askAddress   = "addr"
	askAuthority = "host"
)

// A Question is what a workload is about to call: an address and port that a
// connection was made to, or an authority that a request on a known port names.
// The zero Question is DemandReady.
type Question struct {
	Addr netip.Addr
	Host string // lower case, without port; only where Addr is not valid
	Port uint16
}

// Name is the question as the name of a resource: "addr/10.96.0.7:9080",
// "host/reviews:9080".
func (q Question) Name() string {
	switch {
	case q.Addr.IsValid():
		return askAddress + "/" + netip.AddrPortFrom(q.Addr, q.Port).String()
	case q.Host != "":
		return askAuthority + "/" + q.Host + ":" + strconv.Itoa(int(q.Port))
	}
	return DemandReady
}

// ParseQuestion reads a name.
func ParseQuestion(name string) (Question, error) {
	if name == DemandReady {
		return Question{}, nil
	}
	kind, rest, _ := strings.Cut(name, "/")
	switch kind {
	case askAddress:
		ap, err := netip.ParseAddrPort(rest)
		if err != nil || ap.Addr().Zone() != "" {
			return Question{}, fmt.Errorf("question %q: not an address and port", name)
		}
		return Question{Addr: ap.Addr().Unmap(), Port: ap.Port()}, nil
	case askAuthority:
		colon := strings.LastIndexByte(rest, ':')
		if colon <= 0 {
			return Question{}, fmt.Errorf("question %q: not a host and port", name)
		}
		port, err := strconv.ParseUint(rest[colon+1:], 10, 16)
		if err != nil {
			return Question{}, fmt.Errorf("question %q: not a port: %w", name, err)
		}
		return Question{Host: strings.ToLower(rest[:colon]), Port: uint16(port)}, nil
	}
	return Question{}, fmt.Errorf("question %q: neither an address nor a host", name)
}

// Answer says what a question found.
type Answer struct {
	// Hosts are the mesh's hosts that serve there, fully qualified; none: the mesh
	// does not know the place, and calls go where the client meant.
	Hosts []string
	// Refused says why the question was not looked at; "" for an answer.
	Refused string
}

const (
	answerHosts   protowire.Number = 1
	answerRefused protowire.Number = 2
)

// Marshal gives the wire form.
func (a Answer) Marshal() []byte {
	var out []byte
	for _, h := range a.Hosts {
		out = appendString(out, answerHosts, h)
	}
	if a.Refused != "" {
		out = appendString(out, answerRefused, a.Refused)
	}
	return out
}

// UnmarshalAnswer reads the wire form.
func UnmarshalAnswer(b []byte) (Answer, error) {
	var a Answer
	err := fields(b, func(n protowire.Number, v []byte) error {
		switch n {
		case answerHosts:
			a.Hosts = append(a.Hosts, string(v))
		case answerRefused:
			a.Refused = string(v)
		}
		return nil
	})
	if err != nil {
		return Answer{}, fmt.Errorf("answer: %w", err)
	}
	return a, nil
}
