// Command image builds Lateen's container images without a container engine: it
// packs static binaries into layers and writes one archive, in the format of
// `docker save`, that holds all images and every layer once.
//
//	image -bin bin -o images.tar                         control-plane, proxy
//	image -bin bin -envoy PATH -samples -test-samples -o images.tar
//
// Images are made from scratch: the binary, the roots of trust for TLS, a /tmp and
// three lines of /etc/passwd. Equal inputs give images of equal digests.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// options are the command's flags.
type options struct {
	bin     string // folder of lateen and lateen-proxy
	envoy   string // Envoy's binary; "" leaves out proxy-envoy
	curl    string // curl's binary for the sample image "curl"; "" leaves it out
	roots   string // certificates that the images trust; "" for none
	hub     string
	tag     string
	samples bool
	foreign bool
	extra   extras
	out     string
	list    bool
}

// extras are further images of one static binary each: NAME=PATH.
type extras []struct{ name, path string }

func (e *extras) String() string { return "" }

func (e *extras) Set(s string) error {
	name, path, ok := strings.Cut(s, "=")
	if !ok || name == "" || path == "" {
		return fmt.Errorf("want NAME=PATH, got %q", s)
	}
	*e = append(*e, struct{ name, path string }{name, path})
	return nil
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "folder with the static binaries lateen and lateen-proxy; empty for images of -add only")
	flag.StringVar(&o.envoy, "envoy", "", "Envoy's binary: adds proxy-envoy, with the libraries that it needs")
	flag.StringVar(&o.curl, "curl", "", "curl's binary: adds the image of Istio's sample curl, with the libraries that it needs")
	flag.StringVar(&o.roots, "roots", "/etc/ssl/certs/ca-certificates.crt", "certificates that the images trust (PEM); empty for none")
	flag.StringVar(&o.hub, "hub", "lateen", "repository prefix of the images")
	flag.StringVar(&o.tag, "tag", "dev", "tag of the images")
	flag.BoolVar(&o.samples, "samples", false, "add the sample programs")
	flag.BoolVar(&o.foreign, "test-samples", false, "add the image names of Istio's samples, for a test bed that cannot pull them")
	flag.Var(&o.extra, "add", "one more image of a static binary, NAME=PATH (repeatable)")
	flag.StringVar(&o.out, "o", "images.tar", "archive to write")
	flag.BoolVar(&o.list, "list", false, "print the names of the images that were written")
	flag.Parse()
	if err := run(&o); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(o *options) error {
	all, err := plan(o)
	if err != nil {
		return err
	}
	built := map[name.Reference]v1.Image{}
	b := &builder{roots: o.roots, layers: map[string]v1.Layer{}}
	for _, s := range all {
		ref, err := name.NewTag(s.ref)
		if err != nil {
			return fmt.Errorf("the image's name: %w", err)
		}
		image, err := b.image(s)
		if err != nil {
			return fmt.Errorf("image %s: %w", s.ref, err)
		}
		built[ref] = image
		if o.list {
			fmt.Println(s.ref)
		}
	}
	// Written beside and renamed, so that whoever waits for it sees all of it.
	tmp := o.out + ".tmp"
	if err := tarball.MultiRefWriteToFile(tmp, built); err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	return os.Rename(tmp, o.out)
}
