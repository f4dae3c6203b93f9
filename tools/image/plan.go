package main

import "path/filepath"

// spec says what an image is.
type spec struct {
	ref        string
	files      []file // in layers of their own, in this order
	entrypoint []string
	args       []string
	env        []string
	user       string
	ports      []string
}

// file is a program of an image.
type file struct {
	from, to  string
	libraries bool     // it is linked dynamically: its libraries come with it
	links     []string // further names of it, as symbolic links
}

const (
	// userProxy is the uid and gid that redirection excepts: the proxy's own
	// traffic is recognised by it.
	userProxy = "1337:1337"
	// userNobody has no name in any image's base and no rights.
	userNobody = "65532:65532"
)

// plan gives the images that the options ask for.
func plan(o *options) ([]spec, error) {
	lateen := file{from: filepath.Join(o.bin, "lateen"), to: "/lateen"}
	proxy := file{from: filepath.Join(o.bin, "lateen-proxy"), to: "/lateen-proxy"}
	var all []spec
	if o.bin != "" {
		all = []spec{
			{ref: o.ref("control-plane"), files: []file{lateen}, entrypoint: []string{"/lateen"}, args: []string{"control-plane"}, user: userProxy},
			{ref: o.ref("proxy"), files: []file{proxy}, entrypoint: []string{"/lateen-proxy"}, user: userProxy},
		}
	}
	if o.envoy != "" {
		all = append(all, spec{
			ref: o.ref("proxy-envoy"), entrypoint: []string{"/lateen-proxy"}, user: userProxy,
			// Envoy's layer changes rarely and comes first.
			files: []file{{from: o.envoy, to: "/usr/local/bin/envoy", libraries: true}, proxy},
		})
	}
	if o.samples {
		all = append(all, spec{ref: o.ref("samples"), files: []file{lateen}, entrypoint: []string{"/lateen", "sample"}, user: userNobody})
	}
	if o.foreign {
		all = append(all, foreignSamples(lateen)...)
	}
	if o.curl != "" {
		all = append(all, curlSample(o.curl, lateen))
	}
	for _, e := range o.extra {
		to := "/" + filepath.Base(e.path)
		all = append(all, spec{ref: o.ref(e.name), files: []file{{from: e.path, to: to}}, entrypoint: []string{to}, user: userNobody})
	}
	return all, nil
}

func (o *options) ref(name string) string {
	if o.hub == "" {
		return name + ":" + o.tag
	}
	return o.hub + "/" + name + ":" + o.tag
}

// foreign are the images that the manifests of Istio's samples name, and the
// program of ours that does what each of them does.
var foreign = []struct {
	ref  string
	args []string
}{
	{"docker.io/istio/examples-bookinfo-productpage-v1:1.20.3", []string{"productpage"}},
	{"docker.io/istio/examples-bookinfo-details-v1:1.20.3", []string{"details"}},
	{"docker.io/istio/examples-bookinfo-ratings-v1:1.20.3", []string{"ratings"}},
	{"docker.io/istio/examples-bookinfo-reviews-v1:1.20.3", []string{"reviews-v1"}},
	{"docker.io/istio/examples-bookinfo-reviews-v2:1.20.3", []string{"reviews-v2"}},
	{"docker.io/istio/examples-bookinfo-reviews-v3:1.20.3", []string{"reviews-v3"}},
	{"docker.io/istio/examples-helloworld-v1:1.0", []string{"helloworld-v1"}},
	{"docker.io/istio/examples-helloworld-v2:1.0", []string{"helloworld-v2"}},
	{"docker.io/istio/tcp-echo-server:1.3", []string{"tcp-echo"}},
	{"docker.io/mccutchen/go-httpbin:v2.15.0", []string{"httpbin"}},
	{"docker.io/lateen-mesh/grpc-echo-v1:latest", []string{"grpc-echo-v1"}},
	{"docker.io/lateen-mesh/grpc-echo-v2:latest", []string{"grpc-echo-v2"}},
}

// foreignSamples are those images. The program's name belongs to the entrypoint,
// so that a manifest's args are the program's arguments, as they are in the originals.
func foreignSamples(lateen file) []spec {
	var all []spec
	for _, f := range foreign {
		all = append(all, spec{ref: f.ref, files: []file{lateen}, entrypoint: append([]string{"/lateen", "sample"}, f.args...), user: userNobody})
	}
	return all
}

// curlSample is a place to run curl from: the manifest's command is
// "/bin/sleep infinity", which our program is under that name.
func curlSample(curl string, lateen file) spec {
	return spec{
		ref: "docker.io/curlimages/curl:latest", user: userNobody, entrypoint: []string{"/lateen", "sample", "curl"},
		files: []file{{from: curl, to: "/usr/bin/curl", libraries: true}, {from: "/bin/sleep", to: "/bin/sleep", libraries: true}, {from: "/bin/sh", to: "/bin/sh", libraries: true}, lateen},
	}
}
