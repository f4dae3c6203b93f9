package proxy_test

import (
	"bytes"
	"io"
	"net"
	"regexp"
	"testing"
	"time"
)

// TestRunningFlow: a connection's bytes show at a scrape while it is open, on both
// sides of the mesh, and are not counted again at its end.
func TestRunningFlow(t *testing.T) {
	client, server := newTCPMesh(t, "")
	c, err := net.Dial("tcp", client.addr("10.96.0.1_3306").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(bytes.Repeat([]byte("x"), 1000)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	shows := func(when string, wants ...string) {
		t.Helper()
		for name, s := range map[string]*sidecar{"client": client, "server": server} {
			for _, want := range wants {
				re := regexp.MustCompile(`(?m)^` + want)
				text := ""
				for end := time.Now().Add(5 * time.Second); !re.MatchString(text); time.Sleep(20 * time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("%s, %s: no %s in\n%s", when, name, want, regexp.MustCompile(`(?m)^istio_tcp.*\n`).FindAllString(text, -1))
					}
					text = get(t, s.admin+"/stats/prometheus")
				}
			}
		}
	}
	shows("open", `istio_tcp_connections_opened_total\{.*\} 1$`, `istio_tcp_received_bytes_total\{.*\} 1000$`, `istio_tcp_sent_bytes_total\{.*\} 1000$`)
	if text := get(t, client.admin+"/stats/prometheus"); regexp.MustCompile(`(?m)^istio_tcp_connections_closed_total\{`).MatchString(text) {
		t.Error("counted as closed")
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c); err != nil || string(rest) != "bye" {
		t.Fatalf("%q, %v", rest, err)
	}
	shows("closed", `istio_tcp_connections_closed_total\{.*\} 1$`, `istio_tcp_received_bytes_total\{.*\} 1000$`, `istio_tcp_sent_bytes_total\{.*\} 1003$`)
}
