// Package web holds the console's pages: their sources (src), the libraries that they
// are bundled with (vendor), and the bundle (dist), which is committed so that a
// build needs nothing but Go. `go generate ./web` makes it anew.
package web

import (
	"embed"
	"io/fs"
)

//go:embed dist
var dist embed.FS

// Files are the pages: index.html and what it needs.
func Files() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		return dist // the name above is a directory: this cannot be reached
	}
	return files
}
