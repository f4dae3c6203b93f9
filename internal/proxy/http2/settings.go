package http2

import "encoding/binary"

// Settings (RFC 9113 §6.5.2, RFC 8441 §3, RFC 9218 §2.1).
const (
	settingHeaderTableSize   = 0x1
	settingEnablePush        = 0x2
	settingMaxStreams        = 0x3
	settingInitialWindow     = 0x4
	settingMaxFrameSize      = 0x5
	settingMaxHeaderListSize = 0x6
	settingConnectProtocol   = 0x8
	settingNoPriorities      = 0x9
)

// peerSettings are what the peer told us.
type peerSettings struct {
	maxStreams uint32
	window     int64 // of new streams
	connect    bool  // extended CONNECT
}

// Until the peer says otherwise: RFC 9113 §6.5.2, with 100 streams for "no limit"
// as it recommends at least that many.
func initialSettings() peerSettings {
	return peerSettings{maxStreams: 100, window: initialWindow}
}

func appendSetting(b []byte, id uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, id), v)
}

// settler is a side that is told, without locks, of new settings of the peer.
type settler interface{ settled() }

// settings takes in a SETTINGS frame.
func (c *conn) settings(f *frame) error {
	switch {
	case f.id != 0:
		return fatal(codeProtocol, "SETTINGS on a stream")
	case f.has(flagAck) && len(f.payload) > 0:
		return fatal(codeFrameSize, "acknowledgement of SETTINGS with content")
	case len(f.payload)%6 != 0:
		return fatal(codeFrameSize, "SETTINGS of a wrong size")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.has(flagAck) {
		c.settingsAcked = true
		return nil
	}
	// Each setting may touch every stream: a frame of thousands is work (5 was paid for
	// the frame; nobody needs more than there are settings).
	if err := c.budget.take(c.l.Now, len(f.payload)/6); err != nil {
		return err
	}
	for p := f.payload; len(p) > 0; p = p[6:] {
		if err := c.setting(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	if !c.peerKnown {
		c.peerKnown = true
		if c.client && !c.maxStreamsSet {
			c.peer.maxStreams = maxStreamID // told by silence: no limit
		}
	}
	c.set(appendFrameHeader(c.reserve(frameHeaderLen), 0, frameSettings, flagAck, 0))
	return nil
}

// setting takes in one setting. mu is held.
func (c *conn) setting(id uint16, v uint32) error {
	switch id {
	case settingHeaderTableSize:
		c.enc.SetLimit(v)
	case settingEnablePush:
		if v > 1 || v == 1 && c.client {
			return fatal(codeProtocol, "invalid ENABLE_PUSH")
		}
	case settingMaxStreams:
		c.peer.maxStreams, c.maxStreamsSet = v, true
	case settingInitialWindow:
		return c.setWindow(v)
	case settingMaxFrameSize:
		if v < initialMaxFrame || v > maxMaxFrame {
			return fatal(codeProtocol, "invalid MAX_FRAME_SIZE")
		}
		// Frames are never larger than the initial size, so that streams take turns.
	case settingConnectProtocol:
		if v > 1 || v == 0 && c.peer.connect {
			return fatal(codeProtocol, "invalid ENABLE_CONNECT_PROTOCOL")
		}
		c.peer.connect = v == 1
	}
	return nil
}

// setWindow changes the window of all streams (RFC 9113 §6.9.2). mu is held.
func (c *conn) setWindow(v uint32) error {
	if v > maxWindow {
		return fatal(codeFlowControl, "INITIAL_WINDOW_SIZE too large")
	}
	delta := int64(v) - c.peer.window
	c.peer.window = int64(v)
	for _, st := range c.streams {
		if st.sendWin += delta; st.sendWin > maxWindow {
			return fatal(codeFlowControl, "INITIAL_WINDOW_SIZE overflows a stream's window")
		}
		st.wcond.Signal()
	}
	return nil
}
