package supervise

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/local/sandbox"
)

// CommandAnnotation, on a pod template, is the command of a container whose
// image cannot be run here: words separated by white space.
const CommandAnnotation = "lateen.dev/command"

// image says what stands for an image of the well-known samples.
type image struct {
	repository string // without the registry's host and the tag
	sample     string // name of the sample program; {tag} is the image's tag
	port       bool   // the program takes its port as the first argument
	hostFirst  bool   // a command in the manifest is run on the host, the sample is for those without
}

// images maps the images of Istio's samples, and of our own, to the built-in programs.
var images = []image{
	{repository: "istio/examples-bookinfo-productpage-v1", sample: "productpage", port: true},
	{repository: "istio/examples-bookinfo-details-v1", sample: "details", port: true},
	{repository: "istio/examples-bookinfo-ratings-v1", sample: "ratings", port: true},
	{repository: "istio/examples-bookinfo-reviews-v1", sample: "reviews-v1", port: true},
	{repository: "istio/examples-bookinfo-reviews-v2", sample: "reviews-v2", port: true},
	{repository: "istio/examples-bookinfo-reviews-v3", sample: "reviews-v3", port: true},
	{repository: "istio/examples-helloworld-v1", sample: "helloworld-v1", port: true},
	{repository: "istio/examples-helloworld-v2", sample: "helloworld-v2", port: true},
	{repository: "istio/tcp-echo-server", sample: "tcp-echo"},
	{repository: "lateen-mesh/grpc-echo-v1", sample: "grpc-echo-v1", port: true},
	{repository: "lateen-mesh/grpc-echo-v2", sample: "grpc-echo-v2", port: true},
	{repository: "mccutchen/go-httpbin", sample: "httpbin", port: true},
	{repository: "kennethreitz/httpbin", sample: "httpbin", port: true},
	{repository: "curlimages/curl", sample: "curl", hostFirst: true},
}

// lookupImage finds the sample that stands for an image reference.
func lookupImage(ref string) (image, bool) {
	name := ref
	if at := strings.IndexByte(name, '@'); at >= 0 {
		name = name[:at]
	}
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name = name[:colon]
	}
	for _, im := range images {
		// A mirror of the samples keeps the last two parts of the name.
		if name == im.repository || strings.HasSuffix(name, "/"+im.repository) {
			return im, true
		}
	}
	return image{}, false
}

// program gives what is executed for a container; expand replaces $(NAME).
func program(c *corev1.Container, annotations map[string]string, expand func(string) string) (path string, args []string, err error) {
	all := func(list []string) (out []string) {
		for _, s := range list {
			out = append(out, expand(s))
		}
		return out
	}
	if line := annotations[CommandAnnotation]; line != "" {
		args = all(strings.Fields(line))
		return args[0], args, nil
	}
	im, known := lookupImage(c.Image)
	switch {
	case known && (len(c.Command) == 0 || !im.hostFirst):
		args = append([]string{"lateen", "sample", im.sample}, all(c.Args)...)
		if len(c.Args) == 0 && im.port && len(c.Ports) > 0 {
			args = append(args, strconv.Itoa(int(c.Ports[0].ContainerPort)))
		}
		return sandbox.Self, args, nil
	case len(c.Command) > 0:
		args = append(all(c.Command), all(c.Args)...)
		return args[0], args, nil
	}
	return "", nil, fmt.Errorf("the image %s is not pulled on one machine and is none of the samples': give a command that the host has, or the annotation %s", c.Image, CommandAnnotation)
}
