package wire

import (
	"encoding/json"
	"errors"
	"fmt"
)

// TapRequest is the message of TapType, in JSON: which requests the control plane wants
// to see while they happen. A field that is zero asks for nothing. Both this and
// TapEvent follow the rule for versions: readers skip names that they do not know.
type TapRequest struct {
	ID         uint64      `json:"id"` // names the tap in Untap and in events
	Method     string      `json:"method,omitempty"`
	PathPrefix string      `json:"pathPrefix,omitempty"`
	StatusFrom int         `json:"statusFrom,omitempty"` // with StatusTo; 0 to 0: all
	StatusTo   int         `json:"statusTo,omitempty"`
	Headers    [][2]string `json:"headers,omitempty"` // of the request: name in lower case, and value; "" for any
	// To is the destination service: a host, or a part of it up to a dot ("reviews").
	To string `json:"to,omitempty"`
	// MaxRPS bounds the events of each proxy per second; 0: 100.
	MaxRPS float64 `json:"maxRps,omitempty"`
}

// Untap is the message of UntapType, in JSON.
type Untap struct {
	ID uint64 `json:"id"`
}

// TapEvent is the message of TappedType, in JSON: a request that a proxy has finished.
type TapEvent struct {
	Tap       uint64  `json:"tap,omitempty"`
	Time      float64 `json:"time"` // when it began; seconds since 1970
	Proxy     string  `json:"proxy"`
	Direction string  `json:"direction"` // "inbound", "outbound", "gateway"
	Protocol  string  `json:"protocol"`
	Method    string  `json:"method"`
	Path      string  `json:"path"`
	Authority string  `json:"authority"`
	Status    int     `json:"status"` // 0: there was no answer
	// GRPCStatus is nil where the request is no gRPC call, or got no status.
	GRPCStatus      *int        `json:"grpcStatus,omitempty"`
	Flags           string      `json:"flags,omitempty"`
	Details         string      `json:"details,omitempty"`
	DurationMs      float64     `json:"durationMs"`
	BytesReceived   int64       `json:"bytesReceived"`
	BytesSent       int64       `json:"bytesSent"`
	Source          TapPeer     `json:"source"`
	Destination     TapPeer     `json:"destination"`
	MTLS            bool        `json:"mtls"`
	Cluster         string      `json:"cluster,omitempty"`
	Route           string      `json:"route,omitempty"`
	RequestID       string      `json:"requestId,omitempty"`
	RequestHeaders  [][2]string `json:"requestHeaders,omitempty"`
	ResponseHeaders [][2]string `json:"responseHeaders,omitempty"`
	// Dropped counts what this proxy did not send since the event before, because of
	// MaxRPS or because it was faster than its connection.
	Dropped uint64 `json:"dropped,omitempty"`
}

// TapPeer is one end of a request.
type TapPeer struct {
	Address   string `json:"address,omitempty"`
	Workload  string `json:"workload,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Service   string `json:"service,omitempty"`
	Principal string `json:"principal,omitempty"`
}

// maxTap bounds messages about taps.
const maxTap = 256 << 10

// UnmarshalTap reads a TapRequest, an Untap or a TapEvent.
func UnmarshalTap(b []byte, to any) error {
	if len(b) > maxTap {
		return errors.New("tap: the message is too long")
	}
	if err := json.Unmarshal(b, to); err != nil {
		return fmt.Errorf("tap: %w", err)
	}
	return nil
}
