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
[ $# -gt 0 ] || set -- ./...
if [ "$(go env CGO_ENABLED)" = 1 ]; then
  set -- -race "$@"
else
  echo "testing without the race detector: it needs a C compiler, such as gcc"
fi
go build -o .bin/ ./scripts/broker
# One package after another: they share the broker, and some measure times.
exec .bin/broker run go test -tags "$tags" -p 1 -count=1 -timeout 20m "$@"
