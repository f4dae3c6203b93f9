package console

import "fmt"

// bookinfo is the graph of Bookinfo with a fault, a database and a caller from outside.
func bookinfo(view string) obj {
	app := func(name, version, health string, box bool, in, out obj) obj {
		n := obj{"id": fmt.Sprintf("app/default/%s/%s", name, version), "kind": "app", "namespace": "default", "name": name, "app": name, "version": version, "health": health,
			"services": list{"default/" + name}, "workloads": list{"default/" + name + "-" + version}, "inbound": in, "outbound": out}
		if box {
			n["parent"] = "box/default/" + name
		}
		return n
	}
	gw := obj{"id": "gateway/istio-system/istio-ingressgateway", "kind": "gateway", "namespace": "istio-system", "name": "istio-ingressgateway", "health": "healthy", "workloads": list{"istio-system/istio-ingressgateway"}, "outbound": rates(12.4, 0, 22), "inbound": rates(12.4, 0, 23)}
	nodes := list{
		obj{"id": "unknown", "kind": "unknown", "name": "unknown", "health": "unknown", "root": true, "outbound": rates(12.4, 0, 23), "outOfMesh": true},
		gw,
		app("productpage", "v1", "healthy", false, rates(12.4, 0, 21), rates(24.8, 0.01, 8)),
		app("details", "v1", "healthy", false, rates(12.4, 0, 2.4), nil),
		app("reviews", "v1", "healthy", true, rates(4.2, 0, 4.1), nil),
		app("reviews", "v2", "degraded", true, rates(4.1, 0.02, 11), rates(4.1, 0.02, 6)),
		app("reviews", "v3", "healthy", true, rates(4.1, 0, 10), rates(4.1, 0, 6)),
		app("ratings", "v1", "failing", false, rates(8.2, 0.18, 3.2), obj{"rate": 0, "errorShare": 0, "bytesSent": 5200, "bytesReceived": 18400}),
		obj{"id": "external/mongo.example.com", "kind": "external", "name": "mongo.example.com", "health": "healthy", "inbound": obj{"rate": 0, "errorShare": 0, "bytesSent": 5200, "bytesReceived": 18400}, "outOfMesh": true},
	}
	p, d, r, rt := "app/default/productpage/v1", "app/default/details/v1", "app/default/reviews/", "app/default/ratings/v1"
	db := obj{"rate": 0, "errorShare": 0, "bytesSent": 5200, "bytesReceived": 18400, "connections": 0.4}
	edges := list{
		edge("unknown", "gateway/istio-system/istio-ingressgateway", "http", rates(12.4, 0, 23), 0),
		edge("gateway/istio-system/istio-ingressgateway", p, "http", rates(12.4, 0, 21), 1),
		edge(p, d, "http", rates(12.4, 0, 2.4), 1),
		edge(p, r+"v1", "http", rates(4.2, 0, 4.1), 1), edge(p, r+"v2", "http", rates(4.1, 0.02, 11), 1), edge(p, r+"v3", "http", rates(4.1, 0, 10), 1),
		edge(r+"v2", rt, "http", rates(4.1, 0.22, 3), 1), edge(r+"v3", rt, "http", rates(4.1, 0.13, 3.3), 1),
		edge(rt, "external/mongo.example.com", "tcp", db, 0),
	}
	return obj{"view": view, "from": moment - 60, "to": moment, "nodes": nodes, "edges": edges}
}

// large is a graph of n services in layers, each calling a few of the next layers.
func large(n int) func(string) obj {
	return func(view string) obj {
		var nodes, edges list
		seed := uint32(7)
		next := func(m int) int {
			seed = seed*1664525 + 1013904223
			return int(seed>>8) % m
		}
		id := func(i int) string { return fmt.Sprintf("service/team-%d/svc-%03d", i%9, i) }
		healths := []string{"healthy", "healthy", "healthy", "healthy", "healthy", "healthy", "degraded", "idle", "failing"}
		for i := range n {
			nodes = append(nodes, obj{"id": id(i), "kind": "service", "namespace": fmt.Sprintf("team-%d", i%9), "name": fmt.Sprintf("svc-%03d", i), "health": healths[next(len(healths))],
				"services": list{fmt.Sprintf("team-%d/svc-%03d", i%9, i)}, "inbound": rates(float64(next(900))/10, 0, 4), "outbound": rates(2, 0, 4)})
		}
		for i := n / 25; i < n; i++ { // each service beyond the first is called by one or two before it
			for range 1 + next(2) {
				from := next(max(1, i*2/3))
				errors := 0.0
				if next(20) == 0 {
					errors = 0.15
				}
				edges = append(edges, edge(id(from), id(i), "http", rates(float64(1+next(400))/10, errors, 5), 1))
			}
		}
		seen := map[any]bool{}
		var once list
		for _, e := range edges {
			if k := e.(obj)["id"]; !seen[k] {
				seen[k] = true
				once = append(once, e)
			}
		}
		return obj{"view": view, "from": moment - 60, "to": moment, "nodes": nodes, "edges": once}
	}
}

func services() list {
	s := func(name, health string, r obj, ready, n int) obj {
		return obj{"namespace": "default", "name": name, "host": name + ".default.svc.cluster.local", "external": false, "address": "10.96.0.12", "ports": list{obj{"name": "http", "number": 9080, "protocol": "HTTP"}},
			"endpoints": n, "ready": ready, "health": health, "inbound": r}
	}
	return list{
		s("details", "healthy", rates(12.4, 0, 2.4), 1, 1), s("productpage", "healthy", rates(12.4, 0, 21), 1, 1), s("ratings", "failing", rates(8.2, 0.18, 3.2), 1, 2), s("reviews", "degraded", rates(12.4, 0.006, 8), 3, 3),
		obj{"namespace": "default", "name": "mongo.example.com", "host": "mongo.example.com", "external": true, "ports": list{obj{"number": 27017, "protocol": "TCP"}}, "endpoints": 1, "ready": 1, "health": "idle", "inbound": obj{"rate": 0, "errorShare": 0}},
		obj{"namespace": "istio-system", "name": "istio-ingressgateway", "host": "istio-ingressgateway.istio-system.svc.cluster.local", "external": false, "ports": list{obj{"number": 80, "protocol": "HTTP"}, obj{"number": 443, "protocol": "HTTPS"}}, "endpoints": 1, "ready": 1, "health": "healthy", "inbound": rates(12.4, 0, 23)},
	}
}

func service(name string) obj {
	s := obj{}
	for _, x := range services() {
		if x.(obj)["name"] == name {
			s = x.(obj)
		}
	}
	var instances list
	versions := []string{"v1"}
	if name == "reviews" {
		versions = []string{"v1", "v2", "v3"}
	}
	for i, v := range versions {
		instances = append(instances, obj{"name": name + "-" + v + "-0", "namespace": "default", "workload": name + "-" + v, "address": fmt.Sprintf("10.8.0.%d", 11+i), "port": 9080, "ready": true, "version": v, "zone": "a", "region": "north", "serviceAccount": "bookinfo-" + name, "proxy": name + "-" + v + "-0.default"})
	}
	s["instances"] = instances
	s["charts"] = charts()
	s["edges"] = list{edge("workload/default/productpage-v1", "workload/default/"+name+"-v1", "http", rates(8.2, 0, 8), 1)}
	s["objects"] = list{obj{"kind": "VirtualService", "namespace": "default", "name": "reviews", "verdict": "Effective"}, obj{"kind": "DestinationRule", "namespace": "default", "name": "reviews", "verdict": "Effective"}}
	if name != "reviews" {
		s["objects"] = list{}
	}
	return s
}

func workloads() list {
	w := func(name, version, health string, in obj) obj {
		return obj{"namespace": "default", "name": name + "-" + version, "app": name, "version": version, "gateway": false, "services": list{"default/" + name}, "instances": 1, "ready": 1, "proxies": 1, "synced": 1, "health": health, "inbound": in, "outbound": rates(4, 0, 5)}
	}
	return list{
		w("details", "v1", "healthy", rates(12.4, 0, 2.4)), w("productpage", "v1", "healthy", rates(12.4, 0, 21)), w("ratings", "v1", "failing", rates(8.2, 0.18, 3.2)),
		w("reviews", "v1", "healthy", rates(4.2, 0, 4)), w("reviews", "v2", "degraded", rates(4.1, 0.02, 11)), w("reviews", "v3", "healthy", rates(4.1, 0, 10)),
		obj{"namespace": "istio-system", "name": "istio-ingressgateway", "gateway": true, "instances": 1, "ready": 1, "proxies": 1, "synced": 0, "health": "healthy", "inbound": rates(12.4, 0, 23), "outbound": rates(12.4, 0, 22)},
	}
}

func workload(name string) obj {
	w := obj{}
	for _, x := range workloads() {
		if x.(obj)["name"] == name {
			w = x.(obj)
		}
	}
	w["serviceAccount"], w["identity"] = "bookinfo-reviews", "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"
	w["labels"] = obj{"app": "reviews", "version": "v1", "pod-template-hash": "7c9f"}
	w["pods"] = list{obj{"name": name + "-0", "namespace": "default", "workload": name, "address": "10.8.0.11", "ready": true, "version": "v1", "serviceAccount": "bookinfo-reviews", "proxy": name + "-0.default"}}
	w["edges"] = list{edge("workload/default/productpage-v1", "workload/default/"+name, "http", rates(8.2, 0, 8), 1), edge("workload/default/"+name, "workload/default/ratings-v1", "http", rates(4.1, 0.2, 3), 1)}
	w["charts"] = append(charts(), chart("outbound-rate", "per second", 4, "2xx"))
	w["objects"] = list{obj{"kind": "PeerAuthentication", "namespace": "default", "name": "default", "verdict": "Effective"}}
	w["proxyStates"] = list{proxies()[0]}
	return w
}

func gateways() list {
	g := workloads()[6].(obj)
	g["servers"] = list{
		obj{"object": obj{"kind": "Gateway", "namespace": "default", "name": "bookinfo-gateway", "verdict": "Effective"}, "port": 80, "protocol": "HTTP", "hosts": list{"*"}},
		obj{"object": obj{"kind": "Gateway", "namespace": "default", "name": "shop-gateway", "verdict": "Waiting"}, "port": 443, "protocol": "HTTPS", "hosts": list{"shop.example.com", "api.example.com"}, "credential": "shop-cert"},
	}
	g["edges"] = list{edge("gateway/istio-system/istio-ingressgateway", "workload/default/productpage-v1", "http", rates(12.4, 0, 21), 1)}
	return list{g}
}
