package local

import (
	"context"
	"os/exec"
	"path/filepath"
	"reflect"
	"time"

	"github.com/lateen-mesh/lateen/internal/controlplane/command"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// controlPlane runs the control plane until ctx ends: here, or as a process that
// is started again when it dies. Either way the mesh speaks to it over its
// sockets.
func (m *mesh) controlPlane(ctx context.Context) error {
	if m.o.ControlPlane == InProcess {
		return command.Run(ctx, command.Options{
			StateDir: m.o.Dirs.State, RuntimeDir: m.o.Dirs.Runtime, Config: m.o.Config, TrustDomain: trustDomain,
			ServiceCIDR: m.o.Network.Services, Version: m.o.Version, Name: m.o.Name, ReadOnlyConsole: m.o.ReadOnlyConsole,
		}, m.log)
	}
	out, err := openOutput(filepath.Join(m.o.Dirs.logs(), "control-plane.log"))
	if err != nil {
		return err
	}
	defer out.Close()
	args := []string{
		"--state-dir", m.o.Dirs.State, "--runtime-dir", m.o.Dirs.Runtime, "--trust-domain", trustDomain,
		"--service-cidr", m.o.Network.Services.String(), "--mesh-name", m.o.Name,
	}
	if m.o.ReadOnlyConsole {
		args = append(args, "--read-only-console")
	}
	for _, c := range m.o.Config {
		args = append(args, "--config", c)
	}
	c := child{
		name: "control plane", log: ops.Scope(m.log, "roles"), grace: 5 * time.Second, start: (*exec.Cmd).Start,
		make: func() (*exec.Cmd, error) {
			cmd := m.runtime.role(m.o.Roles.ControlPlane, args...)
			cmd.Stdout, cmd.Stderr = out, out
			return cmd, nil
		},
		started: func() { poke(m.restated) },
	}
	c.run(ctx)
	return nil
}

// retryPause is the pause after the control plane did not answer.
const retryPause = 100 * time.Millisecond

// tellWorkloads tells the control plane what runs, whenever that changes and
// whenever the control plane is a new one.
func (m *mesh) tellWorkloads(ctx context.Context) error {
	var told *stateOfPods
	for {
		select {
		case <-m.changed:
			m.announce()
		case <-m.restated:
			told = nil
		case <-ctx.Done():
			return nil
		}
		now := m.stateOfPods()
		if told != nil && reflect.DeepEqual(now, told) {
			continue
		}
		for {
			err := m.state.SetWorkloads(ctx, now.workloads)
			if err == nil {
				err = m.state.SetVerdicts(ctx, now.verdicts)
			}
			if err == nil {
				told = now
				m.setTold(now.workloads)
				break
			}
			m.log.Debug("control plane not told of workloads", "error", err)
			select {
			case <-time.After(retryPause):
			case <-ctx.Done():
				return nil
			}
			now = m.stateOfPods()
		}
	}
}

// stateOfPods is what the control plane is told: who runs, and what cannot.
type stateOfPods struct {
	workloads []registry.Workload
	verdicts  []verdict.Status
}

func (m *mesh) stateOfPods() *stateOfPods {
	return &stateOfPods{m.sup.Workloads(), m.sup.Statuses()}
}

// setTold notes what the control plane was told, and wakes those who wait for it.
func (m *mesh) setTold(list []registry.Workload) {
	m.mu.Lock()
	m.told = list
	m.mu.Unlock()
	m.announce()
}

// isTold reports whether the control plane was told of the workloads as they are.
func (m *mesh) isTold() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.told != nil && reflect.DeepEqual(m.told, m.sup.Workloads())
}

// announce wakes those who wait for pods.
func (m *mesh) announce() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.wake)
	m.wake = make(chan struct{})
}

// followNames keeps the table of names as the control plane has it; while that
// is away, the last one stays.
func (m *mesh) followNames(ctx context.Context) error {
	var version int64
	for ctx.Err() == nil {
		names, err := m.state.Names(ctx, version)
		if err != nil {
			version = 0 // the next control plane counts anew
			select {
			case <-time.After(retryPause):
			case <-ctx.Done():
			}
			continue
		}
		if names.Version != version && names.Hosts != nil {
			m.runtime.names.Set(names.Hosts)
		}
		version = names.Version
	}
	return nil
}
