#!/usr/bin/env bash
# The test suite, on a RabbitMQ of its own: whatever broker the machine has already is left alone.
#
#   scripts/test.sh [ARG…]     go test's arguments; without any, the whole suite
#
# BROKER and RABBITMQ_ROOT choose where the broker comes from, as for scripts/broker.sh. With
# INTEROP=require the suite fails, and does not just say so, where the programs in Python and
# JavaScript that it talks to cannot run.
set -euo pipefail
cd "$(dirname "$0")/.."

export BROKER_NAME=test-$$
trap 'scripts/broker.sh destroy' EXIT
trap 'exit 130' INT TERM

# Any free ports will do, below those that the system gives to outgoing connections (the node takes
# two more, AMQP_PORT + 19000 and + 20000). Status 3 says that one is taken.
for ((try = 1; ; try++)); do
  export AMQP_PORT=$((10000 + RANDOM % 2500))
  export MANAGEMENT_PORT=$((AMQP_PORT + 10000))
  status=0
  scripts/broker.sh up || status=$?
  [ $status -ne 0 ] || break
  [ $status -eq 3 ] && [ $try -lt 5 ] || exit $status
done
export TEST_AMQP_URL=amqp://guest:guest@localhost:$AMQP_PORT/
export TEST_MANAGEMENT_URL=http://guest:guest@localhost:$MANAGEMENT_PORT
# What the tests start for themselves they describe themselves.
unset AMQP_URL AMQP_PORT MANAGEMENT_PORT

[ $# -gt 0 ] || set -- ./...
if why=$(scripts/interop.sh check 2>&1); then
  set -- -tags interop "$@"
elif [ "${INTEROP:-}" = require ]; then
  printf '%s\n' "$why" >&2
  exit 1
else
  echo "leaving out the exchange with other languages: $why"
fi
if [ "$(go env CGO_ENABLED)" = 1 ]; then
  set -- -race "$@"
else
  echo "testing without the race detector: it needs a C compiler, such as gcc"
fi
go test -count=1 -timeout 20m "$@"
