package console

import (
	"fmt"
	"time"
)

const reviewsVS = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: default
spec:
  hosts:
  - reviews
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    route:
    - destination:
        host: reviews
        subset: v2
  - route:
    - destination:
        host: reviews
        subset: v1
`

const reviewsDR = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
  namespace: default
spec:
  host: reviews
  subsets:
  - labels:
      version: v1
    name: v1
  - labels:
      version: v2
    name: v2
  trafficPolicy:
    loadBalancer:
      simple: RANDOM
`

func meta(name string) obj { return obj{"name": name, "namespace": "default", "generation": 3} }

func stored(kind, name string) obj {
	o := obj{"kind": kind, "namespace": "default", "name": name, "generation": 3, "verdict": "Effective", "inForce": 7, "proxies": 7}
	switch {
	case kind == "VirtualService" && name == "reviews":
		o["yaml"] = reviewsVS
		o["object"] = obj{"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": meta(name), "spec": obj{"hosts": list{"reviews"}, "http": list{
			obj{"match": list{obj{"headers": obj{"end-user": obj{"exact": "jason"}}}}, "route": list{obj{"destination": obj{"host": "reviews", "subset": "v2"}}}},
			obj{"route": list{obj{"destination": obj{"host": "reviews", "subset": "v1"}}}},
		}}}
	case kind == "DestinationRule":
		o["yaml"] = reviewsDR
		o["object"] = obj{"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": meta(name), "spec": obj{"host": "reviews", "subsets": list{obj{"name": "v1", "labels": obj{"version": "v1"}}, obj{"name": "v2", "labels": obj{"version": "v2"}}}, "trafficPolicy": obj{"loadBalancer": obj{"simple": "RANDOM"}}}}
	default:
		o["yaml"] = "apiVersion: networking.istio.io/v1\nkind: " + kind + "\nmetadata:\n  name: " + name + "\n  namespace: default\nspec: {}\n"
		o["verdict"] = "Shadowed"
		o["details"] = list{obj{"code": "Shadowed", "path": "spec.http[1]", "message": "the route before it takes every request", "by": "VirtualService default/reviews"}}
	}
	return o
}

func objects() list {
	o := func(kind, name, verdict, message string) obj {
		x := obj{"kind": kind, "namespace": "default", "name": name, "generation": 1, "verdict": verdict}
		if message != "" {
			x["details"] = list{obj{"code": verdict, "path": "spec.http[1]", "message": message}}
		}
		return x
	}
	return list{
		o("VirtualService", "reviews", "Effective", ""), o("VirtualService", "ratings-old", "Shadowed", "the host ratings is taken by VirtualService default/ratings, which is older"),
		o("VirtualService", "ratings", "Effective", ""), o("DestinationRule", "reviews", "Effective", ""), o("Gateway", "bookinfo-gateway", "Effective", ""),
		o("Gateway", "shop-gateway", "Waiting", "the Secret shop-cert is not there yet"), o("PeerAuthentication", "default", "Effective", ""),
		o("AuthorizationPolicy", "ratings-viewer", "SelectsNothing", "no workload has the labels app=rating"), o("EnvoyFilter", "lua", "Unsupported", "patches of the kind INSERT_FIRST on HTTP_FILTER are not applied by this proxy"),
	}
}

func proxies() list {
	since := time.Unix(int64(moment)-3600, 0).UTC().Format(time.RFC3339)
	state := func(s string, n int) obj {
		return obj{"state": s, "resources": n, "version": "12", "lastSent": since, "lastAck": since}
	}
	p := func(name string) obj {
		return obj{"name": name, "node": "sidecar~10.8.0.11~" + name + "~default.svc.cluster.local", "dataPlane": "lateen-proxy", "version": "0.7.0", "since": since, "revision": 9, "offered": 9,
			"identity": "spiffe://cluster.local/ns/default/sa/bookinfo-reviews", "types": obj{"cds": state("SYNCED", 24), "eds": state("SYNCED", 22), "lds": state("SYNCED", 14), "rds": state("SYNCED", 6), "sds": state("NOT SENT", 0)}}
	}
	bad := p("ratings-v1-0.default")
	bad["revision"] = 8
	bad["refusals"] = list{"lds 0.0.0.0_15006: unknown filter envoy.filters.http.lua"}
	bad["types"].(obj)["lds"] = state("NACK", 14)
	return list{p("reviews-v1-0.default"), p("reviews-v2-0.default"), p("productpage-v1-0.default"), bad}
}

func meshInfo() obj {
	return obj{"name": "bookinfo", "home": "machine", "version": "0.7.0-dev", "trustDomain": "cluster.local", "rootNamespace": "istio-system", "readOnly": false, "now": moment, "started": moment - 7380,
		"controlPlane": obj{"ready": true, "generation": 41, "revision": 9, "built": moment - 320, "pushes": obj{"cds": 182, "eds": 960, "lds": 140, "rds": 210, "sds": 14, "nds": 36}, "refusals": 1},
		"certificates": obj{
			"roots":     list{obj{"subject": "O=cluster.local", "notBefore": moment - 86400, "notAfter": moment + 86400*3649}},
			"workloads": list{obj{"proxy": "reviews-v1-0.default", "subject": "spiffe://cluster.local/ns/default/sa/bookinfo-reviews", "notBefore": moment - 40000, "notAfter": moment + 46400}, obj{"proxy": "ratings-v1-0.default", "subject": "spiffe://cluster.local/ns/default/sa/bookinfo-ratings", "notBefore": moment - 82000, "notAfter": moment + 4400}}},
		"proxies": obj{"connected": 7, "synced": 6, "stale": 0, "refused": 1}, "verdicts": obj{"Effective": 5, "Shadowed": 1, "Waiting": 1, "SelectsNothing": 1, "Unsupported": 1},
		"history": obj{"source": "reports", "series": 412, "bytes": 1820000, "oldest": moment - 7300, "retentionSeconds": 21600, "reporting": 7}}
}

func traces() list {
	var out list
	for i := range 14 {
		out = append(out, obj{"id": fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e47%02x", i), "root": "productpage", "name": "GET /productpage", "start": moment - float64(i*3), "durationMs": 18 + float64(i*i%37)*3, "spans": 8, "services": list{"productpage", "reviews", "ratings", "details"}, "error": i == 3})
	}
	return out
}

func trace(id string) obj {
	s := func(id, parent, service, name, kind string, at, ms float64, bad bool) obj {
		x := obj{"id": id, "service": service, "name": name, "kind": kind, "start": moment + at/1000, "durationMs": ms, "error": bad, "tags": obj{"http.method": "GET", "http.status_code": "200", "upstream_cluster": "outbound|9080||" + service + ".default.svc.cluster.local"}}
		if parent != "" {
			x["parent"] = parent
		}
		return x
	}
	return obj{"id": id, "spans": list{
		s("1", "", "istio-ingressgateway", "GET /productpage", "server", 0, 58, false), s("2", "1", "productpage", "GET /productpage", "server", 1.2, 55, false),
		s("3", "2", "productpage", "details:9080/details", "client", 4, 7.5, false), s("4", "3", "details", "GET /details/0", "server", 5.1, 5, false),
		s("5", "2", "productpage", "reviews:9080/reviews", "client", 14, 38, false), s("6", "5", "reviews", "GET /reviews/0", "server", 15, 36, false),
		s("7", "6", "reviews", "ratings:9080/ratings", "client", 20, 24, true), s("8", "7", "ratings", "GET /ratings/0", "server", 21, 22, true),
	}}
}
