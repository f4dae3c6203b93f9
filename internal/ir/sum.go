package ir

import (
	"reflect"

	"github.com/lateen-mesh/lateen/internal/sum"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Sum hashes any value made of this package's types, over everything it holds
// except origins: two values that a data plane cannot tell apart have one sum,
// wherever they come from.
func Sum(v any) uint64 { return sum.Of(v, reflect.TypeFor[verdict.Origin]()) }
