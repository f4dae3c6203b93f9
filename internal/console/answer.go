package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
)

// operation answers a request with a value that becomes JSON, or with an error:
// a *configapi.Error says the status.
type operation func(r *http.Request) (any, error)

// maxBody bounds what a client may send: configapi has the same bound.
const maxBody = 32 << 20

func refuse(status int, format string, args ...any) *configapi.Error {
	return &configapi.Error{Failure: configapi.Failure{Status: status, Problems: []configapi.Problem{{Message: fmt.Sprintf(format, args...)}}}}
}

// answer serves an operation.
func (c *Console) answer(do operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		status := http.StatusOK
		body, err := do(r)
		if err != nil {
			var refused *configapi.Error
			if !errors.As(err, &refused) {
				c.Log.Error("a request to the console failed", "method", r.Method, "path", r.URL.Path, "err", err)
				refused = refuse(http.StatusInternalServerError, "%s", err)
			}
			status, body = refused.Status, refused.Failure
		}
		text, err := json.Marshal(body)
		if err != nil {
			c.Log.Error("an answer of the console has no JSON", "path", r.URL.Path, "err", err)
			status, text = http.StatusInternalServerError, []byte(`{"status":500,"problems":[{"message":"the answer has no JSON form"}]}`)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = w.Write(text) // the client's departure is its own affair
	})
}

// unix gives a time in the API's form; 0 for the zero time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
