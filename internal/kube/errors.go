package kube

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// The outcomes that callers tell apart by errors.Is. The error of the API server
// stays in the chain.
var (
	// ErrNotFound: the object, or its kind, does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists: an object to be created is there already.
	ErrExists = errors.New("exists already")
	// ErrConflict: the object changed since it was read, or another field manager
	// owns what was applied.
	ErrConflict = errors.New("conflict")
	// ErrForbidden: the account of this process may not do it.
	ErrForbidden = errors.New("forbidden")
	// ErrRejected: a token is not valid, or not for the audience.
	ErrRejected = errors.New("token rejected")
)

// explain names what was tried and maps the API server's reason to the errors
// above; nil stays nil.
func explain(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	for _, m := range []struct {
		is  func(error) bool
		err error
	}{
		{apierrors.IsNotFound, ErrNotFound},
		{apierrors.IsAlreadyExists, ErrExists},
		{apierrors.IsConflict, ErrConflict},
		{apierrors.IsForbidden, ErrForbidden},
	} {
		if m.is(err) {
			return fmt.Errorf("%s: %w: %w", what, m.err, err)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}
