package ca

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Workload is who a token speaks for.
type Workload struct {
	Namespace      string `json:"ns"`
	ServiceAccount string `json:"sa"`
	Instance       string `json:"pod"`
}

// Tokens issues and checks the bearer tokens of local mode: the claims, signed
// with a key that the mesh keeps (HMAC-SHA-256). On Kubernetes, the API server's
// service-account tokens have this part.
type Tokens struct {
	key []byte
	now func() time.Time
}

const tokenKeyFile = "token-key"

// OpenTokens reads the key from the directory and makes it the first time.
func OpenTokens(dir string, now func() time.Time) (*Tokens, error) {
	if now == nil {
		now = time.Now
	}
	path := filepath.Join(dir, tokenKeyFile)
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		err = writeFile(path, key, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("token key %s has %d bytes, want 32", path, len(key))
	}
	return &Tokens{key: key, now: now}, nil
}

type claims struct {
	Workload
	Expires int64 `json:"exp"` // Unix seconds
}

// Issue makes a token for a workload that is valid for the given time.
func (t *Tokens) Issue(w Workload, valid time.Duration) (string, error) {
	body, err := json.Marshal(claims{w, t.now().Add(valid).Unix()})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(body)
	return text + "." + t.sign(text), nil
}

func (t *Tokens) sign(text string) string {
	m := hmac.New(sha256.New, t.key)
	m.Write([]byte("lateen-workload-token\x00"))
	m.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// ErrToken is the error for any token that does not count; it does not say why,
// since the caller is a stranger.
var ErrToken = errors.New("the token is not valid")

// Check returns who a token speaks for.
func (t *Tokens) Check(token string) (Workload, error) {
	text, mac, ok := strings.Cut(token, ".")
	if !ok || !hmac.Equal([]byte(mac), []byte(t.sign(text))) {
		return Workload{}, ErrToken
	}
	body, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return Workload{}, ErrToken
	}
	var c claims
	if err := json.Unmarshal(body, &c); err != nil || t.now().Unix() >= c.Expires {
		return Workload{}, ErrToken
	}
	return c.Workload, nil
}
