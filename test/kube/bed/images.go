// Package bed is what the tests on a real Kubernetes stand on.
package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/lateen-mesh/lateen/test/kube/cluster"
)

// Images are what BuildImages made.
type Images struct {
	Archive string // all images, in the format of `docker save`
	Lateen  string // the command line's binary
	Envoy   bool   // proxy-envoy is among them
}

// BuildImages builds Lateen's binaries and images from the source tree around the
// working directory: lateen/control-plane, lateen/proxy, lateen/proxy-envoy (where
// there is an Envoy), lateen/samples, lateen/load, all tagged "dev", and the image
// names of Istio's samples. With a warm build cache it takes a few seconds.
func BuildImages(ctx context.Context, c *cluster.Cluster) (Images, error) {
	root, err := Root()
	if err != nil {
		return Images{}, err
	}
	images := builtImages(c, root)
	out := filepath.Dir(images.Archive)
	err = errors.Join(
		build(ctx, root, out, "./cmd/lateen", "./cmd/lateen-proxy"),
		build(ctx, filepath.Join(root, "test"), out, "./kube/guest/load"),
		build(ctx, filepath.Join(root, "tools"), out, "./image"),
	)
	if err != nil {
		return images, err
	}
	args := []string{"-bin", out, "-samples", "-test-samples", "-curl", "/usr/bin/curl", "-add", "load=" + filepath.Join(out, "load"), "-o", images.Archive}
	if images.Envoy {
		args = append(args, "-envoy", envoyPath(root))
	}
	return images, quietly(exec.CommandContext(ctx, filepath.Join(out, "image"), args...))
}

// build puts the static binaries of packages of a module's folder into out.
func build(ctx context.Context, dir, out string, packages ...string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", out + "/"}, packages...)...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	return quietly(cmd)
}

// builtImages says where BuildImages puts what it makes.
func builtImages(c *cluster.Cluster, root string) Images {
	out := filepath.Join(filepath.Dir(c.Binary("kube")), "lateen")
	return Images{Archive: filepath.Join(out, "images.tar"), Lateen: filepath.Join(out, "lateen"), Envoy: envoyPath(root) != ""}
}

// envoyPath finds the Envoy that scripts/setup.sh installs, or gives "".
func envoyPath(root string) string {
	path := os.Getenv("LATEEN_TEST_ENVOY")
	if path == "" {
		path = filepath.Join(root, ".cache/tools/envoy")
	}
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// Root is the folder of the repository that the working directory lies in.
var Root = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module github.com/lateen-mesh/lateen\n") {
			return dir, nil
		}
	}
	return "", errors.New("the working directory is not in Lateen's repository")
})

// quietly runs a command and shows its output only if it fails.
func quietly(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
