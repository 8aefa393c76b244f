#!/usr/bin/env bash
# Acts lessons out on a real RabbitMQ: all of them, or the ones that are named.
#
#   scripts/demo.sh [hello] [workqueue] [pubsub] [routing] [topics] [rpc] [confirms]
#
# Needs bash and Go. The broker is what `scripts/broker.sh up` finds or starts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/broker.sh up
eval "$(scripts/broker.sh env)"
export AMQP_URL MANAGEMENT_URL # in the environment: a command line is for everybody to read

go build -o .bin/ ./scripts/demo
exec .bin/demo "$@"
