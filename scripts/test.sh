#!/usr/bin/env bash
# The test suite, on a RabbitMQ of its own: whatever broker the machine has already is left alone.
#
#   scripts/test.sh [ARG…]     go test's arguments; without any, the whole suite
#
# BROKER and RABBITMQ_ROOT choose where the broker comes from, as for `make up`. With
# INTEROP=require the suite fails, and does not just say so, where the programs in Python and
# JavaScript that it talks to cannot run.
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
[ $# -gt 0 ] || set -- ./...
if [ "$(go env CGO_ENABLED)" = 1 ]; then
  set -- -race "$@"
else
  echo "testing without the race detector: it needs a C compiler, such as gcc"
fi
go build -o .bin/ ./scripts/broker
# One package after another: all of them use the one broker, and some measure what it makes wait.
exec .bin/broker run go test -tags "$tags" -p 1 -count=1 -timeout 20m "$@"
