package grpcstats

import (
	"io"
	"testing"

	statsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// pieces is a body that comes in pieces, and trailers behind it.
type pieces struct {
	rest     []string
	trailers *stream.Head
}

func (p *pieces) Next() ([]byte, error) {
	if len(p.rest) == 0 {
		return nil, io.EOF
	}
	b := []byte(p.rest[0])
	p.rest = p.rest[1:]
	return b, nil
}
func (p *pieces) Buffered() (int, bool)  { return 0, len(p.rest) == 0 }
func (p *pieces) Trailers() *stream.Head { return p.trailers }
func (p *pieces) Close(stream.Reason)    {}

func drain(t *testing.T, b stream.Body) {
	t.Helper()
	for b != nil {
		if _, err := b.Next(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func newFilter(t *testing.T, count bool) stream.Filter {
	t.Helper()
	value, err := proto.Marshal(&statsv3.FilterConfig{EmitFilterState: count})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := NewBuilder().Parse(typeURL, value)
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewBuilder().New(cfg, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFilter(t *testing.T) {
	// An empty message, one of three bytes, one of ten whose end is missing.
	whole := "\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x03abc" + "\x01\x00\x00\x00\x0ahalf"
	var crumbs []string
	for _, c := range whole {
		crumbs = append(crumbs, string(c))
	}
	for name, c := range map[string]struct {
		kind           string
		count          bool
		request        []string
		head, trailer  string // grpc-status; "": none
		answer         []string
		call, answered bool
		status         int
		in, out        uint64
	}{
		"at once":        {"application/grpc", true, []string{whole}, "", "0", []string{whole, whole[:5]}, true, true, 0, 3, 3},
		"in crumbs":      {"application/grpc+proto", true, crumbs, "", "5", crumbs, true, true, 5, 3, 3},
		"not counted":    {"application/grpc", false, []string{whole}, "", "13", []string{whole}, true, true, 13, 0, 0},
		"a head alone":   {"application/grpc", true, []string{whole}, "14", "", nil, true, true, 14, 3, 0},
		"no status":      {"application/grpc", true, nil, "", "", []string{whole}, true, false, 0, 0, 3},
		"no such status": {"application/grpc", true, nil, "", "x1", nil, true, false, 0, 0, 0},
		"not gRPC":       {"application/grpc-web", true, []string{whole}, "1", "", nil, false, false, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var s stream.Stream
			s.Request.AddString(stream.ContentType, c.kind)
			if c.request != nil {
				s.Request.Body = &pieces{rest: c.request}
			}
			f := newFilter(t, c.count)
			resp, err := stream.Chain{f, last(func(s *stream.Stream) *stream.Response {
				drain(t, s.Request.Body)
				r := &stream.Response{Status: 200}
				if c.head != "" {
					r.AddString(stream.GRPCStatus, c.head)
				}
				if c.answer != nil {
					body := &pieces{rest: c.answer}
					if c.trailer != "" {
						body.trailers = &stream.Head{}
						body.trailers.AddString(stream.GRPCStatus, c.trailer)
					}
					r.Body = body
				}
				return r
			})}.Handle(&s)
			if err != nil {
				t.Fatal(err)
			}
			drain(t, resp.Body)
			g := &s.GRPC
			if g.Call != c.call || g.Answered != c.answered || g.Status != c.status || g.RequestMessages.Load() != c.in || g.ResponseMessages.Load() != c.out {
				t.Errorf("call %v, answered %v with %d, messages %d and %d", g.Call, g.Answered, g.Status, g.RequestMessages.Load(), g.ResponseMessages.Load())
			}
			s.Recycle()
			if g.Call || g.Answered || g.RequestMessages.Load() != 0 {
				t.Error("not cleared")
			}
		})
	}
}

type last func(*stream.Stream) *stream.Response

func (l last) Handle(s *stream.Stream, _ stream.Next) (*stream.Response, error) { return l(s), nil }
