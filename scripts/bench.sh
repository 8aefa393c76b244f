#!/usr/bin/env bash
# The benchmarks, on a RabbitMQ of their own, and then what they were to reach.
#
#   scripts/bench.sh [ROUNDS]     without ROUNDS six, which take eleven minutes
#
# Each round runs every benchmark once. What is compared was measured in the same round, as a
# machine that others use too gets faster and slower. BROKER and RABBITMQ_ROOT choose where the
# broker comes from, as for `make up`. The figures stay in .bin/bench.txt, for benchstat.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${TEST_AMQP_URL:-}" ]; then # once more, with a broker
  go build -o .bin/ ./cmd/... ./scripts/broker ./internal/test/bench/targets \
    ./internal/test/bench/testdata/{plain_send,plain_receive,publisher}
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
    bench -bench 'Publish|Consume|Dispatch|Send|Receive' ./internal/test/bench
    bench -bench . ./cmd/rpc_client
  done
  bench -bench Memory ./internal/test/bench # a million messages, once
} | tee .bin/bench.txt
.bin/targets <.bin/bench.txt
