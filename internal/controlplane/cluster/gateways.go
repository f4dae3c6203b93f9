package cluster

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/lateen-mesh/lateen/internal/gatewayapi"
	"github.com/lateen-mesh/lateen/internal/gatewaydeploy"
)

const (
	// gatewayPeriod is how soon the leader acts on what changed at Gateways.
	gatewayPeriod = 500 * time.Millisecond
	// parametersPeriod is how soon it acts on changed ConfigMaps of parameters, and on
	// what failed.
	parametersPeriod = 10 * time.Second
)

// gatewayOptions say which Gateways are this control plane's.
func (p *plane) gatewayOptions() gatewayapi.Options {
	o := gatewayapi.Options{Deployed: true, Controllers: []string{gatewayapi.Controller}, Revision: p.o.Revision, Tags: p.source.Tags}
	if p.o.IstioClass {
		o.Controllers = append(o.Controllers, gatewayapi.IstioController)
	}
	return o
}

// gatewayDuty deploys gateways and writes the statuses of the Gateway API's objects.
type gatewayDuty struct {
	p          *plane
	controller *gatewaydeploy.Controller

	revision int64     // of the objects that were last deployed
	deployed time.Time // when
	statuses []gatewayapi.Status
}

func (p *plane) newGatewayDuty(log *slog.Logger) *gatewayDuty {
	classes := map[string]string{"lateen": gatewayapi.Controller}
	if p.o.IstioClass {
		classes["istio"] = gatewayapi.IstioController
	}
	return &gatewayDuty{p: p, controller: gatewaydeploy.New(gatewaydeploy.Options{
		Cluster: p.client.Gateways(), Gateways: p.gatewayOptions(), Namespace: p.o.Namespace, Classes: classes, Log: log,
	})}
}

// round does what has become necessary since the last one.
func (d *gatewayDuty) round(ctx context.Context) error {
	var errs []error
	objects, revision := d.p.source.Snapshot()
	due := time.Since(d.deployed) >= parametersPeriod
	if due || revision != d.revision {
		errs = append(errs, d.controller.Deploy(ctx, objects))
		d.revision, d.deployed = revision, time.Now()
	}
	// A build's list is one slice: the same slice says the same.
	list := d.p.core.Engine().GatewayStatuses()
	same := len(list) == len(d.statuses) && (len(list) == 0 || &list[0] == &d.statuses[0])
	if due || !same {
		errs = append(errs, d.controller.WriteStatuses(ctx, list))
		d.statuses = list
	}
	return errors.Join(errs...)
}
