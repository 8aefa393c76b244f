#!/usr/bin/env bash
# Runs the test suite on a RabbitMQ of its own, and leaves any other broker alone.
#
#   scripts/test.sh [ARG…]     go test's arguments; the whole suite by default
#
# BROKER and RABBITMQ_ROOT choose where the broker comes from, as for `make up`. If the programs in
# Python and JavaScript cannot run, the suite leaves them out; with INTEROP=require it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

tags=
if why=$(scripts/interop.sh check 2>&1); then
  tags=interop
elif [ "${INTEROP:-}" = require ]; then
  printf '%s\n' "$why" >&2
  exit 1
else
  echo "leaving out the exchange with other languages: $why"
fi
# The fault tests take the longest, so they begin first.
[ $# -gt 0 ] || set -- ./internal/test/faults ./...
race=
if [ "$(go env CGO_ENABLED)" = 1 ]; then
  race=-race
  # By itself, a program with the race detector waits for a second at its end, for late races.
  export GORACE=atexit_sleep_ms=0
else
  echo "testing without the race detector: it needs a C compiler, such as gcc"
fi
go build -o .bin/ ./scripts/broker
go build $race -o .bin/test/ ./cmd/... ./scripts/demo ./scripts/experiments/... \
  ./internal/test/bench/testdata/{plain_send,plain_receive} ./internal/test/readme/testdata/service
export TEST_PROGRAMS=$PWD/.bin/test
# Two packages at a time: more would slow each other down.
exec .bin/broker run go test $race -tags "$tags" -p 2 -count=1 -timeout 20m "$@"
