package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// staticBinary builds the smallest static program.
func staticBinary(t *testing.T, dir, name string) string {
	t.Helper()
	source := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-o", out, source)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

func TestImages(t *testing.T) {
	dir := t.TempDir()
	staticBinary(t, dir, "lateen-proxy")
	one := staticBinary(t, dir, "lateen")
	o := &options{bin: dir, hub: "lateen", tag: "dev", foreign: true, samples: true, extra: extras{{"one", one}}, out: filepath.Join(dir, "a.tar")}
	if err := run(o); err != nil {
		t.Fatal(err)
	}
	again := *o
	again.out = filepath.Join(dir, "b.tar")
	if err := run(&again); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ ref, entrypoint, user string }{
		{"lateen/control-plane:dev", "/lateen", "1337:1337"},
		{"lateen/proxy:dev", "/lateen-proxy", "1337:1337"},
		{"docker.io/istio/examples-bookinfo-reviews-v2:1.20.3", "/lateen sample reviews-v2", "65532:65532"},
		{"lateen/one:dev", "/lateen", "65532:65532"},
	} {
		t.Run(c.ref, func(t *testing.T) {
			tag, err := name.NewTag(c.ref)
			if err != nil {
				t.Fatal(err)
			}
			image, err := tarball.ImageFromPath(o.out, &tag)
			if err != nil {
				t.Fatal(err)
			}
			second, err := tarball.ImageFromPath(again.out, &tag)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := digest(t, image), digest(t, second); a != b {
				t.Errorf("two runs give different images: %s, %s", a, b)
			}
			config, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(config.Config.Entrypoint, " "); got != c.entrypoint || config.Config.User != c.user {
				t.Errorf("entrypoint %q, user %q; want %q, %q", got, config.Config.User, c.entrypoint, c.user)
			}
		})
	}
}

func digest(t *testing.T, image v1.Image) string {
	t.Helper()
	d, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// TestStaticOnly refuses a program that would find no dynamic linker in its image.
func TestStaticOnly(t *testing.T) {
	err := run(&options{hub: "lateen", tag: "dev", extra: extras{{"sh", "/bin/sh"}}, out: filepath.Join(t.TempDir(), "a.tar")})
	if err == nil || !strings.Contains(err.Error(), "/bin/sh is linked dynamically") {
		t.Errorf("a dynamic program: %v", err)
	}
}

func TestLibraries(t *testing.T) {
	found, err := libraries("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for in, from := range found {
		if st, err := os.Stat(from); err != nil || !st.Mode().IsRegular() {
			t.Errorf("%s: %s is no file: %v", in, from, err)
		}
		all = append(all, filepath.Base(in))
	}
	for _, want := range []string{"ld-linux-x86-64.so.2", "libc.so.6"} {
		if !slices.Contains(all, want) {
			t.Errorf("no %s in %v", want, all)
		}
	}
}

func TestPack(t *testing.T) {
	text, err := pack([]entry{{name: "/usr/bin/b", mode: 0o755, data: []byte("b")}, {name: "/a", link: "/usr/bin/b", mode: 0o777}, {name: "/tmp", dir: true, mode: 0o1777}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	r := tar.NewReader(bytes.NewReader(text))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.ModTime.Unix() != 0 {
			t.Errorf("%s: owner %d, time %v", h.Name, h.Uid, h.ModTime)
		}
		names = append(names, h.Name)
	}
	if want := []string{"a", "tmp/", "usr/", "usr/bin/", "usr/bin/b"}; !slices.Equal(names, want) {
		t.Errorf("entries %v, want %v", names, want)
	}
}
