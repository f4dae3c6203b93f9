package supervise

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Deployment is one that is wanted, with where it comes from.
type Deployment struct {
	verdict.Origin
	Object *appsv1.Deployment
}

// Options configure a Supervisor. Runtime and Sources are required.
type Options struct {
	Runtime Runtime
	Sources Sources
	Machine Machine
	Log     *slog.Logger
	// Changed is called when Workloads or Pods may tell something new. It must not
	// block, nor call the Supervisor.
	Changed func()
	// StopTime bounds the grace that pods get when Run ends; default 5 s.
	StopTime time.Duration
}

// Machine is what a pod template is held against. The zero value can do everything.
type Machine struct {
	// OneUser says that processes cannot run as another user.
	OneUser bool
	// Exists tells whether a directory is there to mount on; nil: always.
	Exists func(path string) bool
}

// Supervisor keeps Deployments running. Its methods are safe for concurrent use.
type Supervisor struct {
	o    Options
	kick chan struct{} // one slot: there may be something to do

	mu          sync.Mutex
	deployments map[verdict.Ref]*deployment // guarded by mu
}

// deployment is a wanted Deployment and its pods. Its fields are guarded by the
// Supervisor's mu.
type deployment struct {
	want     Deployment
	tmpl     *template // nil: the pods cannot run here
	err      error     // why
	statuses []verdict.Status
	removed  bool
	pods     []*pod
}

// New makes a Supervisor; Run runs it.
func New(o Options) *Supervisor {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if o.StopTime == 0 {
		o.StopTime = 5 * time.Second
	}
	return &Supervisor{o: o, kick: make(chan struct{}, 1), deployments: map[verdict.Ref]*deployment{}}
}

// Set says which Deployments are wanted, all of them.
func (s *Supervisor) Set(list []Deployment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[verdict.Ref]bool{}
	for _, w := range list {
		wanted[w.Ref] = true
		d := s.deployments[w.Ref]
		if d == nil {
			d = &deployment{}
			s.deployments[w.Ref] = d
		} else if d.want.Generation == w.Generation && d.want.Object == w.Object && !d.removed {
			continue
		}
		d.want, d.removed = w, false
		tmpl, statuses, err := readTemplate(w.Object, w.Origin, s.o.Machine)
		d.tmpl, d.statuses, d.err = tmpl, statuses, err
		if err != nil {
			s.o.Log.Error("deployment cannot run here", "deployment", w.Ref.String(), "error", err)
		}
	}
	for ref, d := range s.deployments {
		d.removed = !wanted[ref]
	}
	s.poke()
}

func (s *Supervisor) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Run acts until ctx ends, then ends every pod and returns when all are gone.
func (s *Supervisor) Run(ctx context.Context) error {
	// Pods are told to end one by one, not by ctx.
	life := context.WithoutCancel(ctx)
	for {
		select {
		case <-ctx.Done():
			s.stopAll()
			return nil
		case <-s.kick:
			s.reconcile(life)
			s.o.Changed()
		}
	}
}

func (s *Supervisor) stopAll() {
	s.mu.Lock()
	var all []*pod
	for _, d := range s.deployments {
		all = append(all, d.pods...)
	}
	s.mu.Unlock()
	for _, p := range all {
		p.stop(true)
	}
	for _, p := range all {
		<-p.done
	}
}

// reconcile takes the next step for every Deployment.
func (s *Supervisor) reconcile(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, d := range s.deployments {
		d.pods = slices.DeleteFunc(d.pods, func(p *pod) bool {
			select {
			case <-p.done:
				return true
			default:
				return false
			}
		})
		if d.removed && len(d.pods) == 0 {
			delete(s.deployments, ref)
			continue
		}
		s.step(ctx, d)
	}
}

func (s *Supervisor) step(ctx context.Context, d *deployment) {
	if d.tmpl == nil && !d.removed {
		return // what runs goes on: the last good template
	}
	spec := d.want.Object.Spec
	if d.removed {
		zero := int32(0)
		spec.Replicas = &zero
	}
	list := make([]replica, len(d.pods))
	for i, p := range d.pods {
		p.mu.Lock()
		terminating := p.terminating
		p.mu.Unlock()
		list[i] = replica{index: p.index, current: d.tmpl != nil && p.tmpl.hash == d.tmpl.hash, ready: p.ready(), terminating: terminating}
	}
	create, stop := plan(&spec, list)
	for _, i := range stop {
		d.pods[i].stop(false)
	}
	for range create {
		d.pods = append(d.pods, s.newPod(ctx, d))
	}
}

// newPod makes a pod under the lowest free number and starts it.
func (s *Supervisor) newPod(ctx context.Context, d *deployment) *pod {
	index := 0
	for slices.ContainsFunc(d.pods, func(p *pod) bool { return p.index == index }) {
		index++
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &pod{
		sup: s, spec: d.tmpl.spec, tmpl: d.tmpl, index: index, created: time.Now(), cancel: cancel,
		done: make(chan struct{}), hurry: make(chan struct{}), phase: "Pending",
	}
	p.spec.Name = d.want.Object.Name + "-" + strconv.Itoa(index)
	sum := sha256.Sum256([]byte(p.spec.Namespace + "/" + p.spec.Name + p.created.String()))
	p.spec.UID = fmt.Sprintf("%x-%x-4%x-8%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	p.log = s.o.Log.With("pod", p.spec.Namespace+"/"+p.spec.Name)
	for i := range p.tmpl.init {
		p.init = append(p.init, &container{pod: p, spec: &p.tmpl.init[i], phase: phaseCreating})
	}
	for i := range p.tmpl.main {
		p.main = append(p.main, &container{pod: p, spec: &p.tmpl.main[i], phase: phaseCreating})
	}
	go func() {
		defer s.poke()
		defer cancel()
		p.run(ctx)
	}()
	return p
}

// each calls f for every pod, in the order of namespaces and names.
func (s *Supervisor) each(f func(*pod)) {
	s.mu.Lock()
	var all []*pod
	for _, d := range s.deployments {
		all = append(all, d.pods...)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *pod) int {
		return cmp.Or(cmp.Compare(a.spec.Namespace, b.spec.Namespace), cmp.Compare(a.spec.Owner, b.spec.Owner), cmp.Compare(a.index, b.index))
	})
	for _, p := range all {
		select {
		case <-p.done:
		default:
			f(p)
		}
	}
}

// Workloads lists the pods that have an address.
func (s *Supervisor) Workloads() []registry.Workload {
	var list []registry.Workload
	s.each(func(p *pod) {
		if w, ok := p.workload(); ok {
			list = append(list, w)
		}
	})
	return list
}

// Pods lists all pods, and Deployments that cannot run here in place of theirs.
func (s *Supervisor) Pods() []Status {
	var list []Status
	s.each(func(p *pod) { list = append(list, p.status()) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.deployments {
		if d.err != nil && !d.removed {
			list = append(list, Status{Namespace: d.want.Namespace, Name: d.want.Name, Owner: d.want.Name, Parts: len(d.want.Object.Spec.Template.Spec.Containers), Phase: "Unsupported", Message: d.err.Error(), Created: time.Now()})
		}
	}
	slices.SortStableFunc(list, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), strings.Compare(a.Owner, b.Owner))
	})
	return list
}

// Statuses gives the verdicts on the Deployments, sorted.
func (s *Supervisor) Statuses() []verdict.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []verdict.Status
	for _, d := range s.deployments {
		list = append(list, d.statuses...)
	}
	return verdict.Sort(list)
}

// Unsettled lists what is not yet as wanted: "default/reviews-v1: 0 of 1 ready".
// Deployments that cannot run here do not count.
func (s *Supervisor) Unsettled() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, d := range s.deployments {
		if d.err != nil || d.removed {
			continue
		}
		ready, want := 0, replicas(&d.want.Object.Spec)
		for _, p := range d.pods {
			if p.tmpl.hash == d.tmpl.hash && p.ready() {
				ready++
			}
		}
		if ready < want {
			list = append(list, fmt.Sprintf("%s/%s: %d of %d ready", d.want.Namespace, d.want.Name, ready, want))
		}
	}
	slices.Sort(list)
	return list
}

// Find gives the first running pod that name means: a pod's own name, a
// Deployment's, or the value of its label "app".
func (s *Supervisor) Find(namespace, name string) (Status, error) {
	p, err := s.find(namespace, name)
	if err != nil {
		return Status{}, err
	}
	return p.status(), nil
}

func (s *Supervisor) find(namespace, name string) (*pod, error) {
	if kind, rest, ok := strings.Cut(name, "/"); ok { // kubectl's deploy/NAME and pod/NAME
		switch kind {
		case "deploy", "deployment", "deployments", "po", "pod", "pods":
			name = rest
		}
	}
	var found *pod
	best := 0
	s.each(func(p *pod) {
		if p.spec.Namespace != namespace {
			return
		}
		rank := 0
		switch name {
		case p.spec.Name:
			rank = 4
		case p.spec.Owner:
			rank = 2
		case p.spec.Labels["app"]:
			rank = 1
		}
		if rank > best {
			found, best = p, rank
		}
	})
	if found == nil {
		return nil, fmt.Errorf("%w: no workload %q in namespace %q", ErrNotFound, name, namespace)
	}
	return found, nil
}

// Place gives the place of the workload that name means.
func (s *Supervisor) Place(namespace, name string) (Place, error) {
	p, err := s.find(namespace, name)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.place == nil {
		return nil, fmt.Errorf("%s/%s is not there yet", namespace, p.spec.Name)
	}
	return p.place, nil
}

// ErrNotFound is in the error for a workload that is not there.
var ErrNotFound = errors.New("not found")

// Program gives the running program of a container of the workload that name
// means; an empty container name is the first one.
func (s *Supervisor) Program(namespace, name, container string) (Program, error) {
	p, err := s.find(namespace, name)
	if err != nil {
		return nil, err
	}
	prog, err := p.program(container)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", namespace, p.spec.Name, err)
	}
	return prog, nil
}
