package httpbin

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// WebSocket, RFC 6455: what an echo needs of it. Frames are sent back as they came,
// so that messages in fragments stay in fragments.

const (
	maxFrame = 1 << 20
	idle     = 5 * time.Minute

	opClose = 8
	opPing  = 9
	opPong  = 10
)

// websocket echoes every message until the client closes.
func websocket(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || r.Header.Get("Sec-WebSocket-Version") != "13" || key == "" {
		w.Header().Set("Sec-WebSocket-Version", "13")
		http.Error(w, "a WebSocket of version 13 is expected", http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", acceptKey(key))
	for {
		// The client's departure, and a client that says nothing, end it alike.
		if rw.Flush() != nil || conn.SetDeadline(time.Now().Add(idle)) != nil || echoFrame(rw) != nil {
			return
		}
	}
}

// acceptKey proves that the handshake was understood (section 4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

var (
	errClosed   = errors.New("closed by the client")
	errProtocol = errors.New("not a frame of a client")
)

// echoFrame reads one frame and writes its answer, unflushed.
func echoFrame(rw *bufio.ReadWriter) error {
	var head [2]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return err
	}
	op, n := head[0]&0x0f, uint64(head[1]&0x7f)
	if head[1]&0x80 == 0 { // clients mask what they send
		return errProtocol
	}
	var long [8]byte
	switch n {
	case 126:
		if _, err := io.ReadFull(rw, long[6:]); err != nil {
			return err
		}
		n = binary.BigEndian.Uint64(long[:])
	case 127:
		if _, err := io.ReadFull(rw, long[:]); err != nil {
			return err
		}
		n = binary.BigEndian.Uint64(long[:])
	}
	if n > maxFrame {
		return errProtocol
	}
	mask, body := make([]byte, 4), make([]byte, n)
	if _, err := io.ReadFull(rw, mask); err != nil {
		return err
	}
	if _, err := io.ReadFull(rw, body); err != nil {
		return err
	}
	for i := range body {
		body[i] ^= mask[i%4]
	}
	if op == opPong {
		return nil
	}
	if op == opPing {
		head[0] = head[0]&0xf0 | opPong
	}
	writeFrame(rw.Writer, head[0], body)
	if op == opClose {
		if err := rw.Flush(); err != nil {
			return err
		}
		return errClosed
	}
	return nil
}

// writeFrame writes a frame without a mask. A bufio.Writer keeps its first error
// for Flush.
func writeFrame(w *bufio.Writer, first byte, body []byte) {
	switch n := len(body); {
	case n < 126:
		_, _ = w.Write([]byte{first, byte(n)})
	case n < 1<<16:
		_, _ = w.Write(binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(n)))
	default:
		_, _ = w.Write(binary.BigEndian.AppendUint64([]byte{first, 127}, uint64(n)))
	}
	_, _ = w.Write(body)
}
