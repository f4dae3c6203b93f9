package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// recordFormat is the version of the files that hold objects.
const recordFormat = 1

// record is a stored object. The object is its usual JSON; what that cannot
// carry exactly stands beside it.
type record struct {
	Format  int             `json:"format"`
	Root    string          `json:"root,omitempty"` // watched directory; empty for applied objects
	Path    string          `json:"path,omitempty"` // of the file in it
	File    string          `json:"file,omitempty"` // as the user named it
	Line    int             `json:"line,omitempty"`
	Created int64           `json:"created"`
	Version int64           `json:"version"`
	Object  json.RawMessage `json:"object"`
}

// journal is a change that is being written. It makes the change of several
// files atomic: once it is on disk, Open completes what a crash interrupted.
type journal struct {
	Format   int                        `json:"format"`
	Revision int64                      `json:"revision"`
	Put      map[string]json.RawMessage `json:"put,omitempty"`
	Remove   []string                   `json:"remove,omitempty"`
}

func (s *Store) objectDir() string    { return filepath.Join(s.dir, "objects") }
func (s *Store) journalPath() string  { return filepath.Join(s.dir, "journal.json") }
func (s *Store) revisionPath() string { return filepath.Join(s.dir, "revision.json") }

// acquire takes the lock of the directory; the kernel gives it free when the
// process ends, however it ends.
func (s *Store) acquire() error {
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("opening the configuration store: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("the configuration store %s is used by another process", s.dir)
		}
		return fmt.Errorf("locking the configuration store %s: %w", s.dir, err)
	}
	s.lock = f
	return nil
}

// fileName is where an object is stored. It is only an address: the file's
// content says which object it is.
func fileName(ref verdict.Ref) string {
	name := strings.Join([]string{ref.Kind, url.PathEscape(ref.Namespace), url.PathEscape(ref.Name)}, "_")
	const limit = 240 // file systems allow 255 bytes
	if len(name) > limit {
		sum := sha256.Sum256([]byte(name))
		name = ref.Kind + "_" + hex.EncodeToString(sum[:])
	}
	return name + ".json"
}

func encodeRecord(e *entry) ([]byte, error) {
	object, err := api.EncodeJSON(e.object)
	if err != nil {
		return nil, err
	}
	m, src := &e.object.Meta, e.object.Source
	return json.Marshal(record{
		Format: recordFormat, Root: e.root, Path: e.path, File: src.File, Line: src.Line,
		Created: m.Created, Version: m.Version, Object: object,
	})
}

func decodeRecord(text []byte, path string) (*entry, error) {
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if r.Format != recordFormat {
		return nil, fmt.Errorf("%s has format %d; this version of lateen knows %d", path, r.Format, recordFormat)
	}
	objects, err := api.Decode(bytes.NewReader(r.Object), path)
	if err != nil {
		return nil, fmt.Errorf("stored object is damaged: %w", err)
	}
	if len(objects) != 1 {
		return nil, fmt.Errorf("%s is damaged: it holds %d objects", path, len(objects))
	}
	var own struct {
		Metadata struct {
			UID        string `json:"uid"`
			Generation int64  `json:"generation"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(r.Object, &own); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	o := objects[0]
	o.Meta.UID, o.Meta.Generation = own.Metadata.UID, own.Metadata.Generation
	o.Meta.Created, o.Meta.Version = r.Created, r.Version
	o.Source = api.Source{File: r.File, Line: r.Line}
	return &entry{object: o, origin: origin{root: r.Root, path: r.Path}, active: r.Root == ""}, nil
}

// load reads everything that is stored and returns the revision.
func (s *Store) load() (int64, error) {
	if err := s.replay(); err != nil {
		return 0, err
	}
	files, err := os.ReadDir(s.objectDir())
	if err != nil {
		return 0, fmt.Errorf("opening the configuration store: %w", err)
	}
	var revision int64
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue // a file whose writing was interrupted
		}
		path := filepath.Join(s.objectDir(), f.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			s.damaged = append(s.damaged, fmt.Errorf("reading a stored object: %w", err))
			continue
		}
		e, err := decodeRecord(text, path)
		if err != nil {
			s.damaged = append(s.damaged, err)
			continue
		}
		s.entries[e.object.Ref()] = e
		revision = max(revision, e.object.Meta.Version)
	}
	return s.loadRevision(revision), nil
}

type revisionDocument struct {
	Format   int   `json:"format"`
	Revision int64 `json:"revision"`
}

// loadRevision returns the stored revision. It never falls behind the objects',
// even when its file is lost.
func (s *Store) loadRevision(atLeast int64) int64 {
	text, err := os.ReadFile(s.revisionPath())
	if errors.Is(err, fs.ErrNotExist) {
		return atLeast
	}
	var doc revisionDocument
	if err == nil {
		err = json.Unmarshal(text, &doc)
	}
	if err != nil {
		s.damaged = append(s.damaged, fmt.Errorf("%s is damaged, counting on from the objects: %w", s.revisionPath(), err))
		return atLeast + 1
	}
	return max(doc.Revision, atLeast)
}

// replay completes a change that was interrupted after its journal was written.
func (s *Store) replay() error {
	text, err := os.ReadFile(s.journalPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening the configuration store: %w", err)
	}
	var j journal
	if err := json.Unmarshal(text, &j); err != nil || j.Format != recordFormat {
		return fmt.Errorf("opening the configuration store: %s is damaged; remove it to go on with what is stored: %w", s.journalPath(), errors.Join(err, fmt.Errorf("format %d", j.Format)))
	}
	return s.play(j)
}

// write stores a change; one that changes nothing costs nothing. A change that
// fails half-way is undone.
func (s *Store) write(c *change) error {
	do, undo := journal{Format: recordFormat, Revision: c.result.Revision}, journal{Format: recordFormat, Revision: s.view.Load().revision}
	for ref, e := range c.put {
		if !c.dirty[ref] {
			continue
		}
		if err := errors.Join(do.put(e), undo.restore(ref, s.entries[ref])); err != nil {
			return err
		}
	}
	for ref := range c.removed {
		do.Remove = append(do.Remove, fileName(ref))
		if err := undo.restore(ref, s.entries[ref]); err != nil {
			return err
		}
	}
	if len(do.Put) == 0 && len(do.Remove) == 0 && do.Revision == undo.Revision {
		return nil
	}
	err := s.record(do)
	if err == nil {
		return nil
	}
	if undoErr := s.record(undo); undoErr != nil {
		// What is on disk is not what is in force; going on would hide it.
		s.broken = fmt.Errorf("an earlier change could be neither stored nor undone: %w", undoErr)
	}
	return err
}

// record writes a journal and plays it.
func (s *Store) record(j journal) error {
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if err := writeFile(s.journalPath(), text); err != nil {
		return err
	}
	return s.play(j)
}

func (j *journal) put(e *entry) error {
	text, err := encodeRecord(e)
	if err != nil {
		return err
	}
	if j.Put == nil {
		j.Put = map[string]json.RawMessage{}
	}
	j.Put[fileName(e.object.Ref())] = text
	return nil
}

// restore adds what undoes a change of ref, whose entry was old, nil for none.
func (j *journal) restore(ref verdict.Ref, old *entry) error {
	if old != nil {
		return j.put(old)
	}
	j.Remove = append(j.Remove, fileName(ref))
	return nil
}

// play brings the files to the state of the journal and removes it. It may be
// repeated.
func (s *Store) play(j journal) error {
	for name, text := range j.Put {
		if err := writeFile(filepath.Join(s.objectDir(), filepath.Base(name)), text); err != nil {
			return err
		}
	}
	for _, name := range j.Remove {
		if err := os.Remove(filepath.Join(s.objectDir(), filepath.Base(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	text, err := json.Marshal(revisionDocument{Format: recordFormat, Revision: j.Revision})
	if err != nil {
		return err
	}
	if err := writeFile(s.revisionPath(), text); err != nil {
		return err
	}
	return os.Remove(s.journalPath())
}

// writeFile replaces a file as a whole: readers, and whoever comes after a
// crash, see the old content or the new one.
func writeFile(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
