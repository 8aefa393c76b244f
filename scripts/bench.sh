#!/usr/bin/env bash
# Runs the benchmarks on a RabbitMQ of their own, compares them with their targets, and writes the
# figures into internal/test/bench, README.md and plots, and five of them into README.md.
#
#   scripts/bench.sh [ROUNDS]     4 rounds by default, which take twenty minutes
#
# Only figures of the same round are compared, because a shared machine gets faster and slower.
# BROKER and RABBITMQ_ROOT choose where the broker comes from, as for `make up`. The raw figures
# stay in .bin/bench.txt, for benchstat.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${TEST_AMQP_URL:-}" ]; then # run this script again, with a broker
  go build -o .bin/ ./cmd/... ./scripts/broker ./internal/test/bench/targets \
    ./internal/test/bench/testdata/{plain_send,plain_receive,plain_stage,client}
  TEST_PROGRAMS=$PWD/.bin exec .bin/broker run "$0" "$@"
fi

rounds=${1:-4}
bench() { # BENCHMARK, ARG… of go test
  go test -count=1 -timeout 20m -run '^$' -benchtime 1x -bench "$@"
}
{
  echo "rabbitmq: $TEST_BROKER_VERSION"
  echo "go: $(go env GOVERSION)"
  echo "processors: $(getconf _NPROCESSORS_ONLN)"
  echo "date: $(date -u +%F)"
  # The clients take turns more often, since each turn is short.
  bench 'Publish|Consume' ./internal/test/bench -rounds $((2 * rounds))
  for ((round = 1; round <= rounds; round++)); do
    bench 'Latency|Pipeline|Dispatch|Send' ./internal/test/bench
    bench . ./cmd/rpc_client
  done
  bench Growth ./internal/test/bench # a million messages, once
  bench Cluster ./internal/test/bench -rounds 2
} | tee .bin/bench.txt
.bin/targets <.bin/bench.txt
