package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/samples"
)

// gatewayManifest is the ingress gateway that every mesh has, with the names
// that Istio's installation gives it.
//
//go:embed gateway.yaml
var gatewayManifest []byte

const (
	gatewayNamespace = "istio-system"
	gatewayName      = "istio-ingressgateway"
)

// applyBuiltin applies the gateway and, unless the user brings a configuration,
// Bookinfo. Each manifest is applied once: what the user changed or deleted
// since stays so.
func (m *mesh) applyBuiltin(ctx context.Context) error {
	if err := m.applyOnce(ctx, "gateway.yaml", gatewayManifest); err != nil {
		return err
	}
	if len(m.o.Config) > 0 {
		return nil
	}
	m.o.Progress("applying the sample application Bookinfo")
	return m.applyOnce(ctx, "bookinfo.yaml", samples.Bookinfo())
}

func (m *mesh) applyOnce(ctx context.Context, name string, manifest []byte) error {
	sum := sha256.Sum256(manifest)
	mark := filepath.Join(m.o.Dirs.State, "applied-"+name)
	done, err := os.ReadFile(mark)
	if err == nil && string(done) == hex.EncodeToString(sum[:]) {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	objects, err := api.Decode(bytes.NewReader(manifest), name)
	if err != nil {
		return fmt.Errorf("the built-in manifest: %w", err)
	}
	list, err := m.config.Objects(ctx, configapi.Query{})
	if err != nil {
		return err
	}
	have := map[verdict.Ref]bool{}
	for _, item := range list.Items {
		there, err := api.Decode(bytes.NewReader(item), "store")
		if err != nil {
			return fmt.Errorf("reading the configuration: %w", err)
		}
		for _, o := range there {
			have[o.Ref()] = true
		}
	}
	var text bytes.Buffer
	for _, o := range objects {
		if have[o.Ref()] {
			continue
		}
		doc, err := api.EncodeYAML(o)
		if err != nil {
			return err
		}
		text.WriteString("---\n")
		text.Write(doc)
	}
	if text.Len() > 0 {
		if _, err := m.config.Apply(ctx, []configapi.File{{Name: name, Content: text.Bytes()}}, configapi.ChangeOptions{}); err != nil {
			return fmt.Errorf("applying %s: %w", name, err)
		}
	}
	return os.WriteFile(mark, []byte(hex.EncodeToString(sum[:])), 0o600)
}
