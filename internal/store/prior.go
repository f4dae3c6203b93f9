package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// priorFormat is the version of the frame around prior documents.
const priorFormat = 1

type priorDocument struct {
	Format int             `json:"format"`
	Data   json.RawMessage `json:"data"`
}

func (s *Store) priorDir() string { return filepath.Join(s.dir, "prior") }

func (s *Store) priorPath(name string) string {
	return filepath.Join(s.priorDir(), url.PathEscape(name)+".json")
}

// SavePrior stores v as the JSON document of this name: the history that the
// compile stage reads (last accepted objects, last effective routes). The
// document is replaced as a whole and survives a restart.
func (s *Store) SavePrior(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding prior document %s: %w", name, err)
	}
	text, err := json.Marshal(priorDocument{Format: priorFormat, Data: data})
	if err != nil {
		return fmt.Errorf("encoding prior document %s: %w", name, err)
	}
	if err := writeFile(s.priorPath(name), text); err != nil {
		return fmt.Errorf("storing prior document %s: %w", name, err)
	}
	return nil
}

// LoadPrior reads the document of this name into v. found is false, without an
// error, where there is none.
func (s *Store) LoadPrior(name string, v any) (found bool, err error) {
	text, err := os.ReadFile(s.priorPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading prior document %s: %w", name, err)
	}
	var doc priorDocument
	if err := json.Unmarshal(text, &doc); err != nil {
		return false, fmt.Errorf("prior document %s is damaged: %w", name, err)
	}
	if doc.Format != priorFormat {
		return false, fmt.Errorf("prior document %s has format %d; this version of lateen knows %d", name, doc.Format, priorFormat)
	}
	if err := json.Unmarshal(doc.Data, v); err != nil {
		return false, fmt.Errorf("prior document %s is damaged: %w", name, err)
	}
	return true, nil
}
