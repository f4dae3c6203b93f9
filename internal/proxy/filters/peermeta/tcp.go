package peermeta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// Protocol is the ALPN protocol of TCP connections that begin with metadata.
const Protocol = "istio-peer-exchange"

// The frame of the TCP exchange, as Istio's proxies write it: a magic number and
// the length of what follows, both big endian, then a google.protobuf.Any that
// holds a Struct with the same two names as the HTTP headers.
const (
	frameMagic  = 0x3D230467
	frameHeader = 8
)

const (
	keyMetadata = "x-envoy-peer-metadata"
	keyID       = "x-envoy-peer-metadata-id"
)

func newFrame(n *corev3.Node) ([]byte, error) {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{
		keyMetadata: structpb.NewStructValue(exported(n)),
		keyID:       structpb.NewStringValue(n.GetId()),
	}}
	o := proto.MarshalOptions{Deterministic: true}
	value, err := o.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("peer metadata: %w", err)
	}
	body, err := o.Marshal(&anypb.Any{TypeUrl: "type.googleapis.com/google.protobuf.Struct", Value: value})
	if err != nil {
		return nil, fmt.Errorf("peer metadata: %w", err)
	}
	out := binary.BigEndian.AppendUint32(nil, frameMagic)
	out = binary.BigEndian.AppendUint32(out, uint32(len(body)))
	return append(out, body...), nil
}

var errFrameMore = errors.New("more bytes are needed")

// ParseFrame reads the frame at the beginning of b. length 0 without an error
// means that b does not begin with one: the peer sends data at once. More bytes
// are needed for errFrameMore.
func ParseFrame(b []byte) (p *Peer, length int, err error) {
	var magic [4]byte
	binary.BigEndian.PutUint32(magic[:], frameMagic)
	for i := range min(len(b), 4) {
		if b[i] != magic[i] {
			return nil, 0, nil
		}
	}
	if len(b) < frameHeader {
		return nil, 0, errFrameMore
	}
	n := int(binary.BigEndian.Uint32(b[4:]))
	if n > maxMetadata {
		return nil, 0, fmt.Errorf("peer metadata of %d bytes", n)
	}
	if len(b) < frameHeader+n {
		return nil, 0, errFrameMore
	}
	a, s := &anypb.Any{}, &structpb.Struct{}
	if err := proto.Unmarshal(b[frameHeader:frameHeader+n], a); err != nil {
		return nil, 0, fmt.Errorf("peer metadata: %w", err)
	}
	if err := proto.Unmarshal(a.GetValue(), s); err != nil {
		return nil, 0, fmt.Errorf("peer metadata: %w", err)
	}
	p = fromStruct(s.GetFields()[keyMetadata].GetStructValue())
	p.ID = s.GetFields()[keyID].GetStringValue()
	return p, frameHeader + n, nil
}

// Conn is a connection whose peer may tell of itself first. Its first Read takes
// the peer's frame off; a peer that sends data at once loses nothing.
type Conn struct {
	rawio.Transport
	peer atomic.Pointer[Peer]

	// of the reading goroutine
	begun bool
	rest  []byte // read behind the frame, or instead of one; before that, a part of it
}

// Start tells the peer of us and gives the connection to use from now on. It must
// be called when both ends negotiated Protocol, before any data.
func (x *Exchange) Start(t rawio.Transport) (*Conn, error) {
	if _, err := t.Write(x.frame); err != nil {
		return nil, fmt.Errorf("send peer metadata: %w", err)
	}
	return &Conn{Transport: t}, nil
}

// Peer gives who the peer is, nil while that is not known. Any goroutine.
func (c *Conn) Peer() *Peer { return c.peer.Load() }

// Unwrap gives the transport below.
func (c *Conn) Unwrap() rawio.Transport { return c.Transport }

// Read implements rawio.Transport.
func (c *Conn) Read(p []byte) (int, error) {
	if !c.begun {
		if err := c.readFrame(); err != nil {
			return 0, err
		}
	}
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		if c.rest = c.rest[n:]; len(c.rest) == 0 {
			c.rest = nil
		}
		return n, nil
	}
	return c.Transport.Read(p)
}

// ReadLazy implements rawio.LazyReader.
func (c *Conn) ReadLazy(size int) (*rawio.Buffer, int, error) {
	if !c.begun {
		if err := c.readFrame(); err != nil {
			return nil, 0, err
		}
	}
	if len(c.rest) == 0 {
		return rawio.ReadLazy(c.Transport, size)
	}
	b := rawio.GetBuffer(size)
	n, err := c.Read(b.B)
	return b, n, err
}

func (c *Conn) readFrame() error {
	buf := append(make([]byte, 0, 2<<10), c.rest...)
	c.rest = nil
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := c.Transport.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n == 0 && err != nil {
			if len(buf) == 0 {
				return err
			}
			if rawio.IsTimeout(err) {
				c.rest = buf // to go on with
				return err
			}
			c.begun, c.rest = true, buf // a cut frame is data; the error comes again
			return nil
		}
		peer, length, perr := ParseFrame(buf)
		switch {
		case errors.Is(perr, errFrameMore):
			continue
		case perr != nil:
			return perr
		}
		if peer != nil {
			c.peer.Store(peer)
		}
		c.begun, c.rest = true, buf[length:]
		return nil
	}
}
