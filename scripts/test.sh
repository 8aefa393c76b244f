#!/usr/bin/env bash
# Runs the test suite on a RabbitMQ of its own, and leaves any other broker alone.
#
#   scripts/test.sh [ARG…]     go test's arguments; the whole suite by default
#
# BROKER and RABBITMQ_ROOT choose where the broker comes from, as for `make up`. If the programs in
# Python and JavaScript cannot run, or there is no Chromium to look at the console, the suite leaves
# out what needs them; with INTEROP=require or CHROMIUM=require it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

tags=
leave_out() { # what, why, and whether it is required
  if [ "$3" = require ]; then
    printf '%s\n' "$2" >&2
    exit 1
  fi
  echo "leaving out $1: $2"
}
if why=$(scripts/interop.sh check 2>&1); then
  tags=interop
else
  leave_out 'the exchange with other languages' "$why" "${INTEROP:-}"
fi
if command -v chromium >/dev/null; then
  tags=${tags:+$tags,}chromium
else
  leave_out 'the console' 'no chromium here (apt-get install chromium)' "${CHROMIUM:-}"
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
rm -f .bin/readme.txt
status=0
# Two packages at a time: more would slow each other down.
.bin/broker run go test $race -tags "$tags" -p 2 -count=1 -timeout 20m "$@" || status=$?
[ ! -e .bin/readme.txt ] || cat .bin/readme.txt # how many blocks of the READMEs were run
exit $status
