package cluster

import (
	"context"
	"time"

	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/ops"
)

// How often the leader looks at what nothing tells it of.
const (
	webhookPeriod = 10 * time.Second
	renewalPeriod = time.Hour
	statusPeriod  = 2 * time.Second
)

// lead does the leader's duties whenever this replica leads, until the work ends.
// It stands back as soon as the replica is asked to end, so that another one takes
// over while this one's proxies go.
func (p *plane) lead(asked context.Context) func(context.Context) error {
	return func(work context.Context) error {
		ctx, cancel := context.WithCancel(work)
		defer cancel()
		defer context.AfterFunc(asked, cancel)()
		err := keep("leader election", p.o.Log, func(ctx context.Context) error {
			return p.client.Lead(ctx, p.client.Named("lateen-leader"), p.duties)
		})(ctx)
		if err != nil {
			return err
		}
		return waitFor(work)
	}
}

// duties are what one replica does for all: whatever writes.
func (p *plane) duties(ctx context.Context) {
	p.leads.Store(true)
	p.core.Engine().Recall()
	defer func() {
		p.leads.Store(false)
		p.takePrior(p.prior.Load())
	}()
	log := ops.Scope(p.o.Log, "leader")
	writer := p.client.StatusWriter(p.source)
	parts := []func(context.Context) error{
		keep("memory", log, p.source.KeepPrior),
		keep("roots", log, func(ctx context.Context) error {
			return p.source.KeepRoots(ctx, p.authority.Roots, changes(ctx, p.authority))
		}),
		keep("status", log, writer.Run),
		every("verdicts", statusPeriod, nil, log, func(context.Context) error {
			if list, revision := p.core.Statuses(); revision >= 0 {
				writer.Set(list) // before the first build nothing is known, and nothing is taken back
			}
			return nil
		}),
		every("repair", repairPeriod, nil, log, p.repair.round),
	}
	if p.o.ManageWebhooks {
		parts = append(parts, every("webhooks", webhookPeriod, changes(ctx, p.authority), log, func(ctx context.Context) error {
			return trustWebhooks(ctx, p.o, p.client, p.authority.Roots())
		}))
	}
	if k := p.authority.keeper; k != nil {
		parts = append(parts, every("renewal of the root", renewalPeriod, nil, log, k.Renew))
	}
	if p.o.GatewayController {
		parts = append(parts, every("gateways", gatewayPeriod, nil, log, p.newGatewayDuty(log).round))
	}
	if err := together(ctx, parts...); err != nil {
		log.Error("the leader's duties ended", "err", err)
	}
}

// priorMap is where the leader keeps what the compiler remembers (package kube).
const priorMap = "lateen-prior"

// followPrior lets this replica remember what the leader keeps, so that all compile
// alike.
func (p *plane) followPrior(ctx context.Context) error {
	return p.client.FollowConfigMap(ctx, p.o.Namespace, p.client.Named(priorMap), p.takePrior)
}

func (p *plane) takePrior(d *kube.Document) {
	p.prior.Store(d)
	if p.leads.Load() {
		return // it is our own
	}
	p.source.TakePrior(d)
	p.core.Engine().Recall()
}

// changes turns the channel that an authority closes into one that holds a token
// after each change, until ctx ends.
func changes(ctx context.Context, a *authority) <-chan struct{} {
	out := make(chan struct{}, 1)
	go func() { // ends with ctx
		for {
			changed := a.Changed()
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out
}
