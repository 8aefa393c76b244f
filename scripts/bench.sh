#!/usr/bin/env bash
# Runs the benchmarks on a RabbitMQ of their own, and compares them with their targets.
#
#   scripts/bench.sh [ROUNDS]     6 rounds by default, which take eleven minutes
#
# Each round runs every benchmark once. Only figures of the same round are compared, because a
# shared machine gets faster and slower. BROKER and RABBITMQ_ROOT choose where the broker comes
# from, as for `make up`. The figures stay in .bin/bench.txt, for benchstat.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${TEST_AMQP_URL:-}" ]; then # run this script again, with a broker
  go build -o .bin/ ./cmd/... ./scripts/broker ./internal/test/bench/targets \
    ./internal/test/bench/testdata/{plain_send,plain_receive,plain_stage,publisher}
  TEST_PROGRAMS=$PWD/.bin exec .bin/broker run "$0" "$@"
fi

bench() { # ARG… of go test
  go test -count=1 -timeout 10m -run '^$' -benchtime 1x "$@"
}
{
  echo "rabbitmq: $TEST_BROKER_VERSION"
  echo "go: $(go env GOVERSION)"
  echo "date: $(date -u +%F)"
  for ((round = 1; round <= ${1:-6}; round++)); do
    bench -bench 'Publish|Consume|Pipeline|Dispatch|Send|Receive' ./internal/test/bench
    bench -bench . ./cmd/rpc_client
  done
  bench -bench Memory ./internal/test/bench # a million messages, once
} | tee .bin/bench.txt
.bin/targets <.bin/bench.txt
