//go:build noconsole

package controlplane

import "net/http"

// ConsoleOptions are those of builds with a console.
type ConsoleOptions struct {
	Config     http.Handler
	Roots      func() []byte
	Home, Name string
	ReadOnly   bool
}

// Console says that this build has none.
func (c *Core) Console(ConsoleOptions) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this lateen was built without the console (tag noconsole)", http.StatusNotFound)
	})
}
