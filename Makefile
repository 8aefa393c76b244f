# The RabbitMQ lessons in Go. `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

# Not `go run`, which prints "exit status N" when a program fails.
broker := go build -o .bin/ ./scripts/broker && .bin/broker
demo := go build -o .bin/ ./scripts/demo && .bin/demo

.PHONY: help up up-cluster down kill ctl demo test readme test-faults bench lint screenshots recording \
  demo-hello demo-workqueue demo-pubsub demo-routing demo-topics demo-rpc demo-confirms demo-pipeline demo-retry demo-cluster

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@awk -F : '/^demo-/ { n = split($$1, d, " "); for (i = 1; i <= n; i++) printf "  make %-16s one lesson\n", d[i] }' $(MAKEFILE_LIST)

up: ## start a RabbitMQ, or find the one that runs
	@$(broker) up

up-cluster: ## start three RabbitMQ nodes as a cluster
	@$(broker) up-cluster

down: ## stop what make up or make up-cluster started; its data stays
	@$(broker) down

kill: ## kill -9 a node of the cluster: make kill NODE=2; make up-cluster starts it again
	@$(broker) kill

ctl: ## rabbitmqctl for that RabbitMQ: make ctl ARGS=list_queues; in a cluster, NODE=2 chooses a node
	@$(broker) ctl $(ARGS)

demo: ## every lesson, one after the other
	@$(demo)

demo-hello demo-workqueue demo-pubsub demo-routing demo-topics demo-rpc demo-confirms demo-pipeline demo-retry demo-cluster: demo-%:
	@$(demo) $*

test: ## the whole test suite, on a RabbitMQ of its own
	@scripts/test.sh

readme: ## write what the commands in the READMEs print now into them
	@CGO_ENABLED=0 scripts/test.sh -run Blocks ./internal/test/readme -write # without the race detector, which is slow

test-faults: ## the fault tests at full size, with their figures
	@scripts/test.sh -v -run 'BrokerCrashes|AreKilled|Reconnections|NodesOfACluster' ./internal/test/faults -soak

bench: ## the benchmarks, on a RabbitMQ of their own, and their targets
	@scripts/bench.sh

lint: ## gofmt, go mod tidy, go vet and staticcheck, for Windows and macOS too, and actionlint
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	go mod tidy -diff
	go vet -tags interop,chromium ./...
	GOOS=windows GOARCH=amd64 go vet -tags interop,chromium ./...
	GOOS=darwin GOARCH=arm64 go vet -tags interop,chromium ./...
	go run $(STATICCHECK) -tags interop,chromium ./...
	go run -exec 'env GOOS=windows GOARCH=amd64' $(STATICCHECK) -tags interop,chromium ./...
	go run -exec 'env GOOS=darwin GOARCH=arm64' $(STATICCHECK) -tags interop,chromium ./...
	go run $(ACTIONLINT)

screenshots: ## the READMEs' pictures of the console, which needs Chromium
	@CHROMIUM=require scripts/test.sh -v ./internal/test/console -screenshots

recording: ## README's animation of make demo-workqueue
	@go build -o .bin/ ./scripts/demo ./scripts/recording
	@.bin/recording
