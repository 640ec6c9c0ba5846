# Every target explains itself: make help.

FUZZTIME  ?= 10s
BENCH     ?= .
BENCHTIME ?= 1s

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: trials sim bench-delivery help build run demo test race lint fuzz bench golden update generate verify check

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
	go test -race ./...

lint: ## Run the linters of .golangci.yml; builds golangci-lint the first time.
	.ci/golangci-lint run ./...

fuzz: ## Run every fuzz target for FUZZTIME (10s) each.
	FUZZTIME=$(FUZZTIME) .ci/fuzz

trials: ## Run the suites that try to lose a delivery, at full length: ROUNDS (50), SEEDS (1000).
	.ci/trials

sim: ## Run the simulation of deliveries with one SEED, or with SEEDS of them.
	go test -count 1 -run '^TestSimulation$$' -v ./webhooks | grep -E 'simulation:|FAIL|ok|sim_test'

bench-delivery: ## Run the benchmarks of deliveries; the table is at their end.
	go test -run '^$$' -bench '^BenchmarkDelivery' -benchtime $(BENCHTIME) -timeout 30m ./tests

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

check: verify lint race fuzz ## Run what CI runs after the tests.
