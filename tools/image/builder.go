package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// builder makes images; a layer that several of them have is made once.
type builder struct {
	roots  string
	layers map[string]v1.Layer // by what they hold
}

// entry is one file of a layer.
type entry struct {
	name string // absolute path in the image
	mode int64
	data []byte
	link string // target, for a symbolic link
	dir  bool
}

func (b *builder) image(s spec) (v1.Image, error) {
	base, err := b.base()
	if err != nil {
		return nil, err
	}
	layers := []v1.Layer{base}
	for _, f := range s.files {
		l, err := b.program(f)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	image, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = "amd64", "linux"
	config.Config = v1.Config{
		Entrypoint: s.entrypoint, Cmd: s.args, User: s.user, WorkingDir: "/",
		Env: append([]string{"PATH=/usr/local/bin:/usr/bin:/bin"}, s.env...),
	}
	return mutate.ConfigFile(image, config)
}

// base is what every image has besides its programs.
func (b *builder) base() (v1.Layer, error) {
	return b.layer("base", func() ([]entry, error) {
		all := []entry{
			{name: "/tmp", dir: true, mode: 0o1777},
			{name: "/run", dir: true, mode: 0o755},
			{name: "/etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/:/sbin/nologin\nistio-proxy:x:1337:1337::/:/sbin/nologin\nnobody:x:65532:65532::/:/sbin/nologin\n")},
			{name: "/etc/group", mode: 0o644, data: []byte("root:x:0:\nistio-proxy:x:1337:\nnobody:x:65532:\n")},
		}
		if b.roots == "" {
			return all, nil
		}
		pem, err := os.ReadFile(b.roots)
		if err != nil {
			return nil, fmt.Errorf("roots of trust: %w", err)
		}
		return append(all, entry{name: "/etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: pem}), nil
	})
}

// program is the layer of one program, with its libraries where it has any.
func (b *builder) program(f file) (v1.Layer, error) {
	return b.layer(f.from+" "+f.to, func() ([]entry, error) {
		if !f.libraries {
			if err := requireStatic(f.from); err != nil {
				return nil, err
			}
		}
		data, err := os.ReadFile(f.from)
		if err != nil {
			return nil, err
		}
		all := []entry{{name: f.to, mode: 0o755, data: data}}
		for _, l := range f.links {
			all = append(all, entry{name: l, mode: 0o777, link: f.to})
		}
		if !f.libraries {
			return all, nil
		}
		libraries, err := libraries(f.from)
		if err != nil {
			return nil, err
		}
		for name, from := range libraries {
			data, err := os.ReadFile(from)
			if err != nil {
				return nil, err
			}
			all = append(all, entry{name: name, mode: 0o755, data: data})
		}
		return all, nil
	})
}

func (b *builder) layer(key string, entries func() ([]entry, error)) (v1.Layer, error) {
	if l := b.layers[key]; l != nil {
		return l, nil
	}
	all, err := entries()
	if err != nil {
		return nil, err
	}
	text, err := pack(all)
	if err != nil {
		return nil, err
	}
	// Not compressed: the archive is read on this machine, seconds later.
	l := static.NewLayer(text, types.DockerUncompressedLayer)
	b.layers[key] = l
	return l, nil
}

// pack writes entries as a tar file: sorted, with the folders above them, all of
// the same time and owner, so that equal content has an equal digest.
func pack(all []entry) ([]byte, error) {
	seen := map[string]bool{}
	for _, e := range all {
		seen[e.name] = true
	}
	for _, e := range slices.Clone(all) {
		for d := path.Dir(e.name); d != "/"; d = path.Dir(d) {
			if !seen[d] {
				seen[d] = true
				all = append(all, entry{name: d, dir: true, mode: 0o755})
			}
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range all {
		h := &tar.Header{Name: strings.TrimPrefix(e.name, "/"), Mode: e.mode, ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg, Size: int64(len(e.data))}
		switch {
		case e.dir:
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Clean(e.name), err)
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
