package http2

import "fmt"

// errCode is an error code of RST_STREAM and GOAWAY (RFC 9113 §7).
type errCode uint32

const (
	codeNo              errCode = 0x0
	codeProtocol        errCode = 0x1
	codeInternal        errCode = 0x2
	codeFlowControl     errCode = 0x3
	codeSettingsTimeout errCode = 0x4
	codeStreamClosed    errCode = 0x5
	codeFrameSize       errCode = 0x6
	codeRefusedStream   errCode = 0x7
	codeCancel          errCode = 0x8
	codeCompression     errCode = 0x9
	codeConnect         errCode = 0xa
	codeEnhanceYourCalm errCode = 0xb
)

// String gives the code's name in the RFC.
func (c errCode) String() string {
	names := [...]string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
		"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("error %#x", uint32(c))
}

// connError ends the connection: a GOAWAY says why.
type connError struct {
	code   errCode
	detail string
}

// Error implements error.
func (e *connError) Error() string { return e.code.String() + ": " + e.detail }

func fatal(code errCode, detail string) *connError { return &connError{code, detail} }

// streamError ends one stream with RST_STREAM.
type streamError struct {
	id     uint32
	code   errCode
	detail string
}

// Error implements error.
func (e *streamError) Error() string { return e.code.String() + ": " + e.detail }
