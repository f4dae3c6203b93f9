package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/bench/peer"
)

func TestRequestIsAsLongAsSaid(t *testing.T) {
	if n := len(requestText("/api/v1/reviews")); n < 700 || n > 800 || len(requestHeaders) != 11 {
		t.Errorf("%d bytes, %d headers", n, len(requestHeaders))
	}
	if len(http2Headers()) != len(requestHeaders) {
		t.Errorf("%d headers in HTTP/2", len(http2Headers()))
	}
}

func TestParse(t *testing.T) {
	s, err := parse([]string{"-case", "h1-hop,tcp", "-proxy", "lateen,envoy", "-rounds", "5", "-o", "json", "-load-cores", "1"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]any{[]string{"h1-hop", "tcp"}, []string{"lateen", "envoy"}, 5, "json"}, []any{s.cases, s.kinds, s.rounds, s.output}); d != "" {
		t.Error(d)
	}
	for _, args := range [][]string{{"-case", "nope"}, {"-proxy", "nope"}, {"-o", "xml"}, {"-rounds", "0"}, {"more"}, {"-nope"}} {
		if _, err := parse(append(args, "-load-cores=1"), io.Discard); err == nil {
			t.Errorf("%q accepted", args)
		}
	}
}

// TestCatalog: every target's figure has a column, every case a way to measure.
func TestCatalog(t *testing.T) {
	for _, c := range catalog() {
		if (c.load == nil) == (c.own == nil) {
			t.Errorf("%s: exactly one of load and own", c.name)
		}
		if len(c.targets) == 0 || c.main == "" || c.about == "" {
			t.Errorf("%s: no targets, main figure or description", c.name)
		}
		for _, target := range c.targets {
			if title, _ := titleOf(target.figure); title == target.figure {
				t.Errorf("%s: %s has no column", c.name, target.figure)
			}
		}
	}
}

func sample() []row {
	rows := []row{{Case: "h1-hop", Proxy: peer.Lateen}, {Case: "h1-hop", Proxy: peer.Envoy}, {Case: "h1-hop", Proxy: peer.HAProxy}, {Case: "h1-hop", Proxy: peer.Direct}}
	for i, v := range []float64{20, 50, 25, 0} {
		for _, d := range []float64{-1, 0, 3} {
			rows[i].add(figures{cpuPerRequest: max(0, v+d), p50: 100 + 10*v})
		}
		rows[i].settle()
	}
	addDistance(rows)
	return rows
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	if err := writeJSON(&out, find("h1-hop"), sample()); err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(out.String(), "\n")
	var got map[string]any
	if err := json.Unmarshal([]byte(first), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "rounds")
	want := map[string]any{
		"case": "h1-hop", "proxy": "lateen", cpuPerRequest: 20.0, p50: 300.0, addedP50: 200.0, "spread": 0.2, "ratio_to_envoy": 0.4, "ratio_to_haproxy": 0.8,
		"ratios_to_envoy": map[string]any{cpuPerRequest: 0.4},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestVerdicts(t *testing.T) {
	c := find("h1-hop")
	good := outcome{c: c, rows: sample()}
	if text := verdicts([]outcome{good}); !strings.Contains(text, "| 20.0 | 50.0 | 0.40 | ≤ 0.45 | pass | 0.80 |") {
		t.Error(text)
	}
	bad := outcome{c: c, rows: sample()}
	bad.rows[0].Median[cpuPerRequest] = 30
	if text := verdicts([]outcome{bad}); !strings.Contains(text, "**miss**") {
		t.Error(text)
	}
	alone := outcome{c: c, rows: sample()[:1]}
	if text := verdicts([]outcome{alone}); !strings.Contains(text, "not measured") {
		t.Error(text)
	}
	if text := verdicts([]outcome{{c: c, err: io.EOF}}); !strings.Contains(text, "**failed**") {
		t.Error(text)
	}
	if text := caseTable(c, sample()); !strings.Contains(text, "| lateen | 20.0 | 300 | 200 | 0.40 | 0.80 | 20 % |") {
		t.Error(text)
	}
}

func TestLogCost(t *testing.T) {
	rows := []row{{Proxy: peer.Lateen, Median: figures{cpuPerRequest: 21}}, {Proxy: peer.Lateen + noLog, Median: figures{cpuPerRequest: 20}}}
	if err := addLogCost(t.Context(), nil, nil, nil, rows); err != nil || rows[0].Median[logCost] < 4.9 || rows[0].Median[logCost] > 5.1 {
		t.Errorf("%v, %v", rows[0].Median, err)
	}
}

func TestParseBenchmark(t *testing.T) {
	got, err := parseBenchmark("goos: linux\nBenchmarkFind-2   \t 3000000\t       251.5 ns/op\t       0 B/op\t       0 allocs/op\nPASS\n")
	if d := cmp.Diff([]figures{{nsPerOp: 251.5, allocsPerOp: 0}}, got); d != "" || err != nil {
		t.Error(d, err)
	}
	if _, err := parseBenchmark("PASS\n"); err == nil {
		t.Error("no benchmark is taken for one")
	}
}
