#!/usr/bin/env bash
# Acts lessons out on a real RabbitMQ: all of them, or the ones that are named.
#
#   scripts/demo.sh [hello] [workqueue] [pubsub] [routing] [topics] [rpc] [confirms]
#
# Needs bash and Go. The broker is what `make up` finds or starts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ $# -gt 0 ] || set -- hello workqueue pubsub routing topics rpc confirms

go build -o .bin/ ./cmd/... ./scripts/...
exec .bin/broker up .bin/demo "$@"
