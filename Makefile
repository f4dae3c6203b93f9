# Everything is `go`; this file only remembers the arguments.
GO      ?= go
BIN     := bin
export LATEEN_CACHE ?= $(CURDIR)/.cache
export LATEEN_TEST_ENVOY ?= $(LATEEN_CACHE)/tools/envoy
export LATEEN_TEST_H2SPEC ?= $(LATEEN_CACHE)/tools/h2spec

.PHONY: all up build test unit behave e2e kube kube-smoke check pages golden bench microbench deep fuzz setup clean
all: build

up: ## run the mesh with Bookinfo on this machine
	$(GO) run ./cmd/lateen up

build: ## static binaries in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -tags grpcnotrace -ldflags "-s -w" -o $(BIN)/ ./cmd/...

test: setup check unit behave e2e kube-smoke ## all tests; `make kube` has more

setup: # what tests of real components need; says what it left out
	@scripts/setup.sh

check: ## formatting, vet, staticcheck, types of the console's pages
	@out=$$(gofmt -l bench cmd internal samples test tools web); [ -z "$$out" ] || { echo "gofmt: $$out"; exit 1; }
	$(GO) vet ./...
	cd test && $(GO) vet ./...
	cd tools && $(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	@scripts/web-types.sh

unit: ## tests of every package, with the race detector
	$(GO) test -race -timeout 10m ./...
	cd tools && $(GO) test ./...

behave: ## one behaviour on two data planes: our proxy and a real Envoy
	cd test && $(GO) test -count=1 -timeout 15m ./behave

e2e: build ## the whole mesh as its users see it
	cd test && LATEEN_BINARY=$(CURDIR)/$(BIN)/lateen $(GO) test -count=1 -timeout 20m ./e2e/...

kube: ## everything on a real Kubernetes, which it starts itself; needs root; writes docs/results/kube.md
	@scripts/kube-setup.sh
	cd test && LATEEN_KUBE=full LATEEN_KUBE_RESULTS=$(CURDIR)/docs/results/kube.md $(GO) test -p 1 -count=1 -timeout 40m -v ./kube/...

kube-smoke: # a short walk on it, where its binaries are built already
	@scripts/kube-setup.sh --quick || true
	cd test && $(GO) test -p 1 -count=1 -timeout 15m -v ./kube/...

pages: ## bundle the console's pages again, after a change in web/src
	$(GO) generate ./web

golden: ## rewrite the golden files; read the difference before you commit it
	$(GO) test $$(grep -rl 'flag.Bool("update"' --include=*_test.go internal | xargs -n1 dirname | sort -u | sed "s|^|./|") -update

bench: ## lateen-proxy beside Envoy, HAProxy, nginx and others; writes bench/RESULTS.md
	@scripts/bench-setup.sh
	$(GO) run ./bench -results bench/RESULTS.md $(BENCHFLAGS)

microbench: ## Go benchmarks of the hot paths
	$(GO) test -run '^$$' -bench . -benchmem ./internal/proxy/... ./internal/compile ./internal/mesh

fuzz: ## every fuzz target for FUZZTIME, or FUZZTARGETS of them in turn
	scripts/fuzz.sh $(or $(FUZZTIME),60s) $(FUZZTARGETS)

deep: ## long work: fuzzing, benchmarks, repeated end-to-end walks
	$(MAKE) fuzz FUZZTIME=10m FUZZTARGETS=4
	$(MAKE) microbench bench
	$(GO) run ./bench/soak -time 20m
	LATEEN_DEEP=1 $(GO) test -timeout 30m ./internal/compile
	LATEEN_DEEP=1 $(GO) test -count=1 -timeout 30m -run 'Smuggling|Differential|H2Spec|Corpus|Conformance|Hostile' ./internal/proxy ./internal/proxy/http1 ./internal/proxy/http2
	cd test && $(GO) test -race -count=1 -timeout 60m ./behave
	cd test && $(GO) test -count=1 -timeout 20m ./console/...
	cd test && LATEEN_DEEP=1 LATEEN_BINARY=$(CURDIR)/$(BIN)/lateen $(GO) test -count=1 -timeout 60m ./e2e/...

clean:
	rm -rf $(BIN)
