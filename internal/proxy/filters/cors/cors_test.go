package cors

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

func TestCORS(t *testing.T) {
	b := NewBuilder()
	cfg, err := b.Parse(typeURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.New(cfg, 0)
	if err != nil {
		t.Fatal(err)
	}
	end := stream.HandlerFunc(func(*stream.Stream) (*stream.Response, error) { return &stream.Response{Status: 204}, nil })
	resp, err := stream.Chain{f, last{end}}.Handle(&stream.Stream{})
	if err != nil || resp.Status != 204 {
		t.Errorf("%+v, %v", resp, err)
	}
	for _, refuse := range []func() (any, error){
		func() (any, error) { return b.ParseOverride(policyURL, nil) },
		func() (any, error) { return b.Parse(policyURL, nil) },
		func() (any, error) { return b.Parse(typeURL, []byte{0x0a, 0x01, 'x'}) },
	} {
		if _, err := refuse(); err == nil || !strings.Contains(err.Error(), Name) {
			t.Errorf("got %v", err)
		}
	}
}

type last struct{ h stream.Handler }

func (l last) Handle(s *stream.Stream, _ stream.Next) (*stream.Response, error) { return l.h.Handle(s) }
