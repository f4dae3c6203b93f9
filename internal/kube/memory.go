package kube

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
)

const (
	// priorMap is the ConfigMap of what the pure stages remember (with a revision:
	// lateen-prior-REV). Each document is an entry of binaryData: gzip of JSON.
	priorMap = "lateen-prior"
	// priorFormat is the version of the frame around documents.
	priorFormat = 1
	// priorLimit is the size that documents may have together: a ConfigMap's limit
	// of 1 MiB, with room for its metadata and the encoding in base64.
	priorLimit = 740 << 10
	// priorDocument bounds what one document unpacks to.
	priorDocument = 64 << 20

	priorPause = time.Second     // between a change and its writing, for more changes
	priorRetry = 5 * time.Second // after an error
)

// memory is the remembered state of the pure stages. Every replica remembers on its
// own and reads, when it starts, what the leader wrote.
type memory struct {
	// immutable
	c       *Client
	changed chan struct{} // one slot: saved moved

	mu     sync.Mutex
	saved  map[string][]byte // guarded by mu: packed documents
	stored map[string][]byte // guarded by mu: what the ConfigMap held; nil before it was read
}

type priorFrame struct {
	Format int             `json:"format"`
	Data   json.RawMessage `json:"data"`
}

// SavePrior implements push.Memory: v is remembered as JSON, and written to the
// ConfigMap lateen-prior while KeepPrior runs. It does not wait for that.
func (s *Source) SavePrior(name string, v any) error {
	packed, err := packPrior(v)
	if err != nil {
		return fmt.Errorf("encoding prior document %s: %w", name, err)
	}
	m := &s.memory
	m.mu.Lock()
	m.saved[name] = packed
	m.mu.Unlock()
	poke(m.changed)
	return nil
}

// LoadPrior implements push.Memory: what this process saved, else what the
// ConfigMap holds. It asks the API server once and fails where that cannot answer.
func (s *Source) LoadPrior(name string, v any) (found bool, err error) {
	m := &s.memory
	packed, known := m.recall(name)
	if !known {
		if err := m.read(context.Background()); err != nil {
			return false, fmt.Errorf("prior document %s: %w", name, err)
		}
		packed, _ = m.recall(name)
	}
	if packed == nil {
		return false, nil
	}
	if err := unpackPrior(packed, v); err != nil {
		return false, fmt.Errorf("prior document %s: %w", name, err)
	}
	return true, nil
}

// recall finds a document; known is false where the ConfigMap must be read first.
func (m *memory) recall(name string) (packed []byte, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if packed = m.saved[name]; packed != nil {
		return packed, true
	}
	return m.stored[name], m.stored != nil
}

// read reads the ConfigMap.
func (m *memory) read(ctx context.Context) error {
	d, err := m.c.ConfigMap(ctx, m.c.namespace, m.c.Named(priorMap))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	stored := map[string][]byte{}
	maps.Copy(stored, d.Data)
	m.mu.Lock()
	m.stored = stored
	m.mu.Unlock()
	return nil
}

// KeepPrior writes what SavePrior was given, now and from now on, until ctx ends;
// it returns nil then. The leader runs it.
func (s *Source) KeepPrior(ctx context.Context) error {
	m := &s.memory
	fresh := false // another leader may have written since this process read
	for {
		wait := priorPause
		var err error
		if !fresh {
			err = m.read(ctx)
			fresh = err == nil
		}
		if err == nil {
			err = m.write(ctx)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			s.log.Error("what the compiler remembers was not written; a restart may forget it", "err", err)
			wait = priorRetry
			poke(m.changed)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.changed:
		}
	}
}

// write brings the ConfigMap up to date: documents that were not saved stay.
func (m *memory) write(ctx context.Context) error {
	m.mu.Lock()
	next := maps.Clone(m.stored)
	maps.Copy(next, m.saved)
	same := maps.EqualFunc(next, m.stored, bytes.Equal)
	m.mu.Unlock()
	if same {
		return nil
	}
	size := 0
	for _, d := range next {
		size += len(d)
	}
	if size > priorLimit {
		return fmt.Errorf("ConfigMap %s: %d bytes are more than a ConfigMap holds (%d)", m.c.Named(priorMap), size, priorLimit)
	}
	ctx, cancel := context.WithTimeout(m.c.context(ctx), requestTimeout)
	defer cancel()
	object := coreapply.ConfigMap(m.c.Named(priorMap), m.c.namespace).WithBinaryData(next)
	_, err := m.c.typed.CoreV1().ConfigMaps(m.c.namespace).Apply(ctx, object, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if err != nil {
		return explain(err, "writing ConfigMap %s", m.c.Named(priorMap))
	}
	m.mu.Lock()
	m.stored = next
	m.mu.Unlock()
	return nil
}

// packPrior gives equal bytes for equal values.
func packPrior(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(priorFrame{Format: priorFormat, Data: data})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func unpackPrior(packed []byte, v any) error {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("damaged: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(z, priorDocument+1))
	if err != nil {
		return fmt.Errorf("damaged: %w", err)
	}
	if len(text) > priorDocument {
		return fmt.Errorf("it unpacks to more than %d MiB", priorDocument>>20)
	}
	var frame priorFrame
	if err := json.Unmarshal(text, &frame); err != nil {
		return fmt.Errorf("damaged: %w", err)
	}
	if frame.Format != priorFormat {
		return fmt.Errorf("it has format %d; this version of lateen knows %d", frame.Format, priorFormat)
	}
	if err := json.Unmarshal(frame.Data, v); err != nil {
		return fmt.Errorf("damaged: %w", err)
	}
	return nil
}
