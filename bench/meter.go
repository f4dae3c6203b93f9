package main

import (
	"time"

	"github.com/lateen-mesh/lateen/bench/peer"
	"github.com/lateen-mesh/lateen/bench/proc"
)

// meter reads the accounts of a proxy's processes around a measurement.
type meter struct {
	lab    *lab
	of     *peer.Running
	length time.Duration
	warm   bool // nothing is measured: the load may spare itself what takes long

	before, after account
}

// account is what had been used at a time.
type account struct {
	at            time.Time
	proxy, origin time.Duration
	memory        proc.Memory
}

func (m *meter) read() (a account, err error) {
	a.at = time.Now()
	if a.proxy, err = m.of.CPU(); err != nil {
		return a, err
	}
	if a.origin, err = m.lab.origin.CPU(); err != nil {
		return a, err
	}
	a.memory, err = m.of.Memory()
	return a, err
}

// begin is called when the connections are open and the load is about to start.
func (m *meter) begin() (err error) {
	m.before, err = m.read()
	return err
}

// end is called when the load is over and its connections, where it can be, are
// still open.
func (m *meter) end() (err error) {
	m.after, err = m.read()
	return err
}

// fill divides what was used by what was done: "requests" or "gib".
func (m *meter) fill(f figures) {
	cpu, origin := m.after.proxy-m.before.proxy, m.after.origin-m.before.origin
	if n := f["requests"]; n > 0 {
		f[cpuPerRequest] = float64(cpu.Nanoseconds()) / 1e3 / n
		f["origin_us_per_request"] = float64(origin.Nanoseconds()) / 1e3 / n
	}
	if n := f["gib"]; n > 0 {
		f[cpuPerGiB] = cpu.Seconds() / n
		f["origin_s_per_gib"] = origin.Seconds() / n
	}
	f["cores"] = cpu.Seconds() / m.after.at.Sub(m.before.at).Seconds()
	f[rss], f[anon] = megabytes(m.after.memory.RSS), megabytes(m.after.memory.Anon)
}

func megabytes(n int64) float64 { return float64(n) / (1 << 20) }
