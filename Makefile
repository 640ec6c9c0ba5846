# Every target explains itself: make help.

FUZZTIME  ?= 10s
BENCH     ?= .
BENCHTIME ?= 1s

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: suites crash sim neighbour guard bench-delivery bench-rebuild help build run demo test race lint fuzz bench golden update generate verify check

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the binary: bin/verbatim.
	go build -o bin/verbatim ./cmd/verbatim

run: ## Run the server; its data goes to ./verbatim-data.
	go run ./cmd/verbatim serve

demo: ## Run a throw-away server with widget, inbox and webhook inspector.
	go run ./cmd/verbatim demo

test: ## Run the tests. Needs Go and gcc, nothing else.
	go test ./...

race: ## Run the tests under the race detector.
	go test -race -timeout 20m ./...

lint: ## Run the linters of .golangci.yml; builds golangci-lint the first time.
	.ci/golangci-lint run ./...

fuzz: ## Run every fuzz target for FUZZTIME (10s) each.
	FUZZTIME=$(FUZZTIME) .ci/fuzz

suites: ## Do to deliveries what nobody should: crash, sim, neighbour, guard and more.
	@.ci/suites

crash: ## Kill a server under load, ROUNDS (50) times.
	@.ci/suites crash

sim: ## Simulate deliveries and their receivers from SEEDS (1000) seeds, or from one SEED.
	@.ci/suites simulation receivers

neighbour: ## Show that no endpoint waits for another.
	@.ci/suites neighbour

guard: ## Show where webhooks may not go.
	@.ci/suites guard

bench-delivery: ## Measure deliveries, some minutes; DELIVERY_EVENTS=1000000 is the whole of it.
	@go test ./tests -run '^$$' -bench '^BenchmarkDelivery' -benchtime 1x -timeout 2h

bench-rebuild: ## Measure rebuilds, some minutes; REBUILD_EVENTS=1000000 is the whole of it.
	@go test ./tests -run '^$$' -bench '^(BenchmarkRebuild|BenchmarkCatchUp)$$' -benchtime 1x -timeout 2h

bench: ## Run the benchmarks that match BENCH (.), for BENCHTIME (1s) each.
	@set -- $$(.ci/folders '^func Benchmark'); \
	if [ $$# -eq 0 ]; then echo "there are no benchmarks"; exit 0; fi; \
	go test -run '^$$' -bench '$(BENCH)' -benchtime '$(BENCHTIME)' -benchmem "$$@"

golden: ## Hold rebuilt fixtures against the vendors' sample bodies; say what differs and why.
	@.ci/golden

update: ## Rewrite the golden files. Read the diff: it is the contract.
	@set -- $$(.ci/folders 'flag\.Bool(Var)?\(.*"update"'); \
	if [ $$# -eq 0 ]; then echo "there are no golden files"; exit 0; fi; \
	go test -run 'Golden|OpenAPI' "$$@" -args -update

generate: ## Rewrite the generated files.
	go generate ./...

verify: ## Fail if gofmt, go mod tidy or go generate would change anything.
	.ci/verify

check: verify lint race suites fuzz ## Run what CI runs after the tests.
