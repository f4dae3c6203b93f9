package console

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// files serves the pages. Paths that name no file are pages too: the one program in
// index.html shows them.
type files struct{ from fs.FS }

func newFiles(from fs.FS) http.Handler {
	if from == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			fmt.Fprintln(w, "This lateen was built without the console's pages. Its API is described at /api/openapi.yaml.")
		})
	}
	return files{from}
}

const index = "index.html"

// ServeHTTP implements http.Handler.
func (f files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "pages are only read", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	if name == "" {
		name = index
	}
	body, err := fs.ReadFile(f.from, name)
	if err != nil && path.Ext(name) == "" { // a page, not a file that is missing
		name = index
		body, err = fs.ReadFile(f.from, name)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid):
		http.NotFound(w, r)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	sum := sha256.Sum256(body)
	w.Header().Set("Etag", `"`+hex.EncodeToString(sum[:12])+`"`)
	if hashed(name) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		w.Header().Set("Cache-Control", "no-cache") // asks, and gets 304
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
}

// hashed reports whether a file's name holds a hash of its content, as esbuild writes
// it: "app-3XKQ2M7A.js".
func hashed(name string) bool {
	stem := strings.TrimSuffix(name, path.Ext(name))
	_, hash, ok := strings.Cut(path.Base(stem), "-")
	if i := strings.LastIndexByte(hash, '-'); i >= 0 {
		hash = hash[i+1:]
	}
	return ok && len(hash) == 8 && strings.Trim(hash, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}
