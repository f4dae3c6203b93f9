package bookinfo

import (
	_ "embed"
	"net/http"
)

//go:embed bookinfo.css
var styles []byte

// static serves the page's own style sheet: the sample loads nothing from other
// hosts.
func static(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("file") != "bookinfo.css" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(styles)
}
