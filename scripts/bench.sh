#!/usr/bin/env bash
# The benchmarks, on a RabbitMQ of their own, and then what they were to reach.
#
#   scripts/bench.sh [ROUNDS]     without ROUNDS six, which take eleven minutes
#
# Each round runs every benchmark once. What is compared was measured in the same round, as a
# machine that others use too gets faster and slower. BROKER and RABBITMQ_ROOT choose where the
# broker comes from, as for scripts/broker.sh. The figures stay in .bin/bench.txt, for benchstat.
set -euo pipefail
cd "$(dirname "$0")/.."

export TEST_PROGRAMS=$PWD/.bin
go build -o .bin/ ./cmd/... ./internal/test/bench/testdata/{plain_send,plain_receive,publisher} ./internal/test/bench/targets

# shellcheck source=scripts/own-broker.sh
. scripts/own-broker.sh

bench() { # ARG… of go test
  go test -count=1 -timeout 10m -run '^$' -benchtime 1x "$@"
}
{
  echo "rabbitmq: $(scripts/broker.sh ctl version)"
  echo "go: $(go env GOVERSION)"
  echo "date: $(date -u +%F)"
  for ((round = 1; round <= ${1:-6}; round++)); do
    bench -bench 'Publish|Consume|Dispatch|Send|Receive' ./internal/test/bench
    bench -bench . ./cmd/rpc_client
  done
  bench -bench Memory ./internal/test/bench # a million messages, once
} | tee .bin/bench.txt
.bin/targets <.bin/bench.txt
