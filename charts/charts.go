// Package charts holds the Helm charts of Lateen: what `helm install` takes from
// this directory, and what `lateen install` renders in process.
package charts

import "embed"

// Files are the charts, one directory for each, and the profiles. The files are
// never changed by anybody who reads them.
//
//go:embed all:base all:istiod all:gateway all:cni profiles
var Files embed.FS
