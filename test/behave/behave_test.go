package behave

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBehave runs every case of testdata on both data planes.
func TestBehave(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	planes := []string{ours, envoy}
	beds := map[string]*bed{}
	for _, plane := range planes {
		b, err := newBed(plane)
		if err != nil {
			t.Fatal(err)
		}
		defer b.stop()
		beds[plane] = b
	}
	_, noEnvoy := os.Stat(os.Getenv(envoyVar))
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			for _, plane := range planes {
				t.Run(plane, func(t *testing.T) {
					t.Parallel() // the planes, not the cases
					c, err := loadCase(file)
					if err != nil {
						t.Fatal(err)
					}
					if why := c.except[plane]; why != "" {
						t.Skip(why)
					}
					if plane == envoy && noEnvoy != nil {
						t.Skip(errNoEnvoy.Error())
					}
					beds[plane].run(t, c)
				})
			}
		})
	}
}

// run runs a case.
func (b *bed) run(t *testing.T, c *testCase) {
	r := &run{t: t, c: c, bed: b, name: b.plane, conns: map[string]*h1Conn{}}
	defer b.end()
	defer func() {
		for _, conn := range r.conns {
			conn.Close()
		}
	}()
	if err := b.begin(r); err != nil {
		t.Fatalf("%s: %v", c.title, err)
	}
	if c.role == roleServer {
		app, err := b.app(r.cell)
		if err != nil {
			t.Fatal(err)
		}
		defer app.stop()
	}
	r.cell.log.reset()
	for _, s := range c.script {
		r.do(s)
	}
}

// app starts the server of the pod under test, where the case calls that.
func (b *bed) app(x *cell) (*server, error) {
	s := newServer(b.world, x.id.name, "", nil)
	b.world.name(s)
	for _, p := range defaultPorts {
		if err := s.listen(x.ns, netip.AddrPortFrom(x.addr, p)); err != nil {
			return nil, err
		}
	}
	return s, nil
}
