# shellcheck shell=bash
# Starts a RabbitMQ for the script that sources this, and removes it when that ends. Tests find it
# in TEST_AMQP_URL and TEST_MANAGEMENT_URL.

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
