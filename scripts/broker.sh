#!/usr/bin/env bash
# A real RabbitMQ for the lessons and the tests.
#
#   scripts/broker.sh up          find or start a broker, and wait until it answers
#   scripts/broker.sh down        stop what `up` started; its data stays
#   scripts/broker.sh destroy     stop it and remove its data, and those of brokers named NAME-…
#   scripts/broker.sh ctl ARG…    rabbitmqctl for the broker that `up` started
#   scripts/broker.sh url         print the AMQP URL that programs should use
#   scripts/broker.sh env         print AMQP_URL, MANAGEMENT_URL, BROKER_KIND, BROKER_OURS for eval
#   scripts/broker.sh kill        kill -9 (`up` brings it back with its data)
#   scripts/broker.sh pause       freeze it: its sockets stay open, and nothing answers
#   scripts/broker.sh resume      let a frozen one go on
#
# `up` takes the first of these that is there: the broker that AMQP_URL names; one that already
# answers on localhost:5672; Docker Compose; an installed rabbitmq-server, run as a private node
# that needs no root; an installation by apt or brew. BROKER=external|compose|native forces one.
#
# Several brokers can run side by side, each described by
#   BROKER_NAME       tutorial; any other name means: a broker of its own, so that neither
#                     AMQP_URL nor one that already answers is used for it
#   AMQP_PORT         5672
#   MANAGEMENT_PORT   15672
#   DIST_PORT         AMQP_PORT + 20000   what rabbitmqctl connects to (native only)
#   ERL_EPMD_PORT     AMQP_PORT + 19000   the node's own epmd (native only)
#   BROKER_HOME       .broker; state, data and log live in BROKER_HOME/BROKER_NAME
#   TLS_PORT          none; where set, TLS is spoken there, by the certificates in BROKER_CONFIG
#   BROKER_CONFIG     a file with more rabbitmq.conf lines; they may name files in its folder
#   RABBITMQ_ROOT     run the rabbitmq-server inside this root folder (see rabbitmq4.sh)
#   BROKER_TIMEOUT    120   seconds that a broker may take to answer
#
# Exit status: 0 done, 1 failed, 2 wrong usage, 3 a port is taken by somebody else.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

BROKER=${BROKER:-}
BROKER_NAME=${BROKER_NAME:-tutorial}
BROKER_HOME=${BROKER_HOME:-$top/.broker}
BROKER_CONFIG=${BROKER_CONFIG:-}
BROKER_TIMEOUT=${BROKER_TIMEOUT:-120}
AMQP_PORT=${AMQP_PORT:-5672}
MANAGEMENT_PORT=${MANAGEMENT_PORT:-15672}
DIST_PORT=${DIST_PORT:-$((AMQP_PORT + 20000))}
ERL_EPMD_PORT=${ERL_EPMD_PORT:-$((AMQP_PORT + 19000))}
TLS_PORT=${TLS_PORT:-}
RABBITMQ_ROOT=${RABBITMQ_ROOT:-}
KIND='' # native or compose: what runs under this name, and
PID=''  # the node's process (and process group), or its container

say() { printf 'broker: %s\n' "$*" >&2; }

die() { # MESSAGE [STATUS]
  say "$1"
  exit "${2:-1}"
}

# --- who answers -----------------------------------------------------------------------------

# within SECONDS COMMAND…: runs COMMAND, and fails when it takes longer.
within() {
  local tenths=$(($1 * 10)) pid
  shift
  "$@" &
  pid=$!
  while [ "$tenths" -gt 0 ] && kill -0 "$pid" 2>/dev/null; do
    sleep 0.1
    tenths=$((tenths - 1))
  done
  kill "$pid" 2>/dev/null || :
  wait "$pid" 2>/dev/null
}

# answers HOST PORT REQUEST REPLY: does the server there answer REQUEST with REPLY?
answers() {
  # shellcheck disable=SC2059 # the request is a format: it has escapes
  (exec 3<>"/dev/tcp/$1/$2" && printf "$3" >&3 &&
    IFS= read -r -t 3 -n "${#4}" reply <&3 && [ "$reply" = "$4" ]) 2>/dev/null
}

# An AMQP server answers a version that it does not speak with its own header.
amqp_answers() { answers "$1" "$2" 'AMQP\0\0\0\0' AMQP; }

http_answers() { answers "$1" "$2" 'GET / HTTP/1.0\r\n\r\n' HTTP; }

port_open() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

# --- AMQP_URL, which may hold a password -----------------------------------------------------

own_url() { printf 'amqp://guest:guest@localhost:%s/' "$AMQP_PORT"; }

# Is AMQP_URL to be used, rather than a broker of ours?
url_given() {
  [ -n "${AMQP_URL:-}" ] || return 1
  case $BROKER in
  external) return 0 ;;
  compose | native) return 1 ;;
  esac
  [ "$BROKER_NAME" = tutorial ] || return 1
  # Somebody may have exported the URL of the very broker that `up` started.
  [ -z "$KIND" ] || [ "${AMQP_URL%/}/" != "$(own_url)" ]
}

# The host and port that AMQP_URL names, and nothing else of it.
url_address() {
  local rest=$AMQP_URL scheme=amqp port
  case $rest in *://*) scheme=${rest%%://*} rest=${rest#*://} ;; esac
  rest=${rest##*@} rest=${rest%%[/?#]*}
  port=${rest##*:}
  case $rest in
  \[*\]) rest=${rest#[} rest=${rest%]} port='' ;;
  \[*\]:*) rest=${rest#[} rest=${rest%]:*} ;;
  *:*) rest=${rest%:*} ;;
  *) port='' ;;
  esac
  if [ -z "$port" ]; then
    port=5672
    [ "$scheme" != amqps ] || port=5671
  fi
  printf '%s %s' "${rest:-localhost}" "$port"
}

given_answers() {
  local host port
  read -r host port <<<"$(url_address)"
  case $AMQP_URL in
  amqps:*) within 5 port_open "$host" "$port" ;;
  *) within 5 amqp_answers "$host" "$port" ;;
  esac
}

# --- compose ---------------------------------------------------------------------------------

docker_answers() {
  command -v docker >/dev/null && within 10 docker info >/dev/null 2>&1
}

compose_command() { # version 2 is a plugin, version 1 a program of its own
  if docker compose version >/dev/null 2>&1; then
    echo docker compose
  elif command -v docker-compose >/dev/null; then
    echo docker-compose
  else
    return 1
  fi
}

compose() {
  local command
  command=$(compose_command)
  [ ! -f "$state/compose.yml" ] || set -- -f "$state/compose.yml" "$@"
  export AMQP_PORT MANAGEMENT_PORT
  # shellcheck disable=SC2086 # two words
  $command -p "rabbitmq-$BROKER_NAME" -f "$top/docker-compose.yml" "$@"
}

start_compose() {
  rm -f "$state/compose.yml"
  if [ -n "$BROKER_CONFIG" ]; then
    {
      [ -z "$TLS_PORT" ] || echo "listeners.ssl.default = 5671"
      cat "$BROKER_CONFIG"
    } >"$state/more.conf"
    {
      echo 'services:'
      echo '  rabbitmq:'
      echo '    volumes:'
      echo "      - \"$config_folder:$config_folder:ro\""
      echo "      - \"$state/more.conf:/etc/rabbitmq/conf.d/90-more.conf:ro\""
      [ -z "$TLS_PORT" ] || echo '    ports:'
      [ -z "$TLS_PORT" ] || echo "      - \"127.0.0.1:$TLS_PORT:5671\""
    } >"$state/compose.yml"
  fi
  remember compose starting
  compose up -d >&2 || die "docker compose failed; BROKER=native runs a rabbitmq-server without Docker"
  remember compose "$(compose ps -q rabbitmq)"
}

compose_runs() {
  [ "$(within 10 docker inspect -f '{{.State.Running}}' "$PID" 2>/dev/null)" = true ]
}

stop_compose() { compose down "$@" >&2; }

# --- native ----------------------------------------------------------------------------------

# The folder with the server's own scripts: the ones in /usr/sbin want to be root.
native_sbin() {
  local dir found=''
  for dir in "$RABBITMQ_ROOT"/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin \
    "$RABBITMQ_ROOT"/opt/homebrew/opt/rabbitmq/sbin "$RABBITMQ_ROOT"/usr/local/opt/rabbitmq/sbin; do
    [ ! -x "$dir/rabbitmq-env" ] || found=$dir
  done
  if [ -z "$found" ] && [ -z "$RABBITMQ_ROOT" ] && dir=$(command -v rabbitmq-server); then
    dir=$(dirname "$dir")
    [ ! -x "$dir/rabbitmq-env" ] || found=$dir
  fi
  [ -n "$found" ] || return 1
  printf '%s' "${found#"$RABBITMQ_ROOT"}"
}

# exec_native PROGRAM ARG…: becomes one of RabbitMQ's programs, in this node's environment.
exec_native() {
  local local_only='-kernel inet_dist_use_interface {127,0,0,1}'
  local fresh_figures='-rabbit collect_statistics_interval 1000 quorum_tick_interval 1000' # as in docker-compose.yml
  local program
  program=$(native_sbin)/$1
  shift
  set -- env HOME="$state" \
    RABBITMQ_NODENAME="$BROKER_NAME@localhost" \
    RABBITMQ_CONF_ENV_FILE="$state/rabbitmq-env.conf" \
    RABBITMQ_CONFIG_FILE="$state/rabbitmq.conf" \
    RABBITMQ_CONFIG_FILES="$state/conf.d" \
    RABBITMQ_ADVANCED_CONFIG_FILE="$state/advanced.config" \
    RABBITMQ_ENABLED_PLUGINS_FILE="$state/enabled_plugins" \
    RABBITMQ_MNESIA_BASE="$state/data" \
    RABBITMQ_GENERATED_CONFIG_DIR="$state/data/config" \
    RABBITMQ_SCHEMA_DIR="$state/data/schema" \
    RABBITMQ_LOG_BASE="$state" RABBITMQ_LOGS=- \
    RABBITMQ_DIST_PORT="$DIST_PORT" ERL_EPMD_PORT="$ERL_EPMD_PORT" ERL_EPMD_ADDRESS=127.0.0.1 \
    ERL_INETRC="$state/inetrc" \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="$local_only $fresh_figures" RABBITMQ_CTL_ERL_ARGS="$local_only" \
    RUNNING_UNDER_SYSTEMD=true "$program" "$@"
  [ -n "$RABBITMQ_ROOT" ] || exec "$@"
  # A mount namespace of its own: the mounts vanish with the last process that sees them.
  # shellcheck disable=SC2016 # expanded in there
  exec unshare --mount --propagation private bash -euc '
    root=$1 home=$2 config=$3
    shift 3
    mount --rbind /proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/tmp"
    for dir in "$home" "$config"; do
      mkdir -p "$root$dir"
      mount --bind "$dir" "$root$dir"
    done
    exec chroot "$root" "$@"' bash "$RABBITMQ_ROOT" "$BROKER_HOME" "$config_folder" "$@"
}

# Is PID still our node, and not a process that got its number later?
native_runs() {
  local command='' tries=3
  # A process that is just becoming another program has no command line for a moment, and one
  # that has ended but was not waited for has none for good.
  while [ -n "$PID" ] && [ -z "$command" ] && [ "$tries" -gt 0 ]; do
    [ "$tries" -eq 3 ] || sleep 0.05
    tries=$((tries - 1))
    if [ -d /proc/self ]; then
      command=$(tr '\0' ' ' 2>/dev/null <"/proc/$PID/cmdline") || return 1
    else
      command=$(ps -ww -o command= -p "$PID") || return 1
    fi
  done
  case $command in *"-broker $state "* | *"-broker $state") return 0 ;; esac
  return 1
}

start_native() {
  local port host
  for port in "$DIST_PORT" "$ERL_EPMD_PORT"; do
    ! port_open localhost "$port" || die "port $port is taken: choose others with DIST_PORT and ERL_EPMD_PORT" 3
  done
  mkdir -p "$state/data"
  echo '[rabbitmq_management].' >"$state/enabled_plugins"
  # For each connection RabbitMQ looks up the name of its own machine, to tell the client the name of
  # the cluster. Where only a DNS server could know it, that may take five seconds.
  host=$(uname -n)
  printf '{lookup, [file, native]}.\n{host, {127,0,0,1}, ["%s"]}.\n' "${host%%.*}" >"$state/inetrc"
  {
    echo "listeners.tcp.local = 127.0.0.1:$AMQP_PORT"
    echo "management.tcp.ip = 127.0.0.1"
    echo "management.tcp.port = $MANAGEMENT_PORT"
    [ -z "$TLS_PORT" ] || echo "listeners.ssl.local = 127.0.0.1:$TLS_PORT"
    [ -z "$BROKER_CONFIG" ] || cat "$BROKER_CONFIG"
  } >"$state/rabbitmq.conf"
  ulimit -S -n 65536 2>/dev/null || ulimit -S -n "$(ulimit -H -n)" 2>/dev/null || :
  set -m # a process group of its own, which Ctrl+C does not reach
  (cd "$state" && exec_native rabbitmq-server -broker "$state") </dev/null >"$state/rabbitmq.log" 2>&1 &
  PID=$!
  set +m
  remember native "$PID"
  until native_runs || ! kill -0 "$PID" 2>/dev/null; do sleep 0.1; done
}

native_ends() { # waits until it does
  local tenths=600
  while native_runs; do
    [ "$tenths" -gt 0 ] || return 1
    sleep 0.1
    tenths=$((tenths - 1))
  done
}

stop_native() {
  if native_runs; then
    kill -TERM "$PID"
    kill -CONT "-$PID" # a frozen one could not obey
    native_ends || kill_native
  fi
  stop_epmd
}

kill_native() {
  kill -KILL "-$PID"
  native_ends
  stop_epmd
}

# The node's own epmd outlives it. It ends on request, and refuses as long as it has nodes.
stop_epmd() {
  local tenths=50
  while [ "$tenths" -gt 0 ] && port_open 127.0.0.1 "$ERL_EPMD_PORT"; do
    answers 127.0.0.1 "$ERL_EPMD_PORT" '\0\1k' OK || sleep 0.1
    tenths=$((tenths - 1))
  done
}

# --- installing ------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_server() {
  local policy=/usr/sbin/policy-rc.d log=$BROKER_HOME/install.log
  if command -v apt-get >/dev/null && as_root true 2>/dev/null; then
    say "no RabbitMQ and no Docker engine here: installing rabbitmq-server with apt-get"
    # The package would start a server for the whole system. Nobody asked for that one.
    if [ ! -e "$policy" ]; then
      # shellcheck disable=SC2064 # $policy is local
      trap "as_root rm -f $policy" EXIT
      printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
      as_root chmod 755 "$policy"
    fi
    mkdir -p "$BROKER_HOME"
    as_root apt-get update >"$log" 2>&1 || say "apt-get update failed; trying with the lists at hand"
    as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends rabbitmq-server \
      </dev/null >>"$log" 2>&1 || die "apt-get could not install rabbitmq-server; what it said: $log"
    [ ! -d /run/systemd/system ] || as_root systemctl disable --now rabbitmq-server >>"$log" 2>&1 || :
  elif command -v brew >/dev/null && [ "$(id -u)" != 0 ]; then
    say "no RabbitMQ and no Docker engine here: installing rabbitmq with brew"
    NONINTERACTIVE=1 brew install rabbitmq </dev/null >&2 || die "brew could not install rabbitmq"
  else
    die "no RabbitMQ here, and no way to install one: start Docker, or install rabbitmq-server, or set AMQP_URL"
  fi
  native_sbin >/dev/null || die "rabbitmq-server is installed, but not where it was looked for"
}

# --- the instance ----------------------------------------------------------------------------

remember() { # KIND PID
  KIND=$1 PID=$2
  local name
  for name in KIND PID AMQP_PORT MANAGEMENT_PORT TLS_PORT DIST_PORT ERL_EPMD_PORT RABBITMQ_ROOT; do
    printf '%s=%q\n' "$name" "${!name}"
  done >"$state/instance"
}

# What `up` started last under this name, running or not.
recall() {
  # shellcheck disable=SC1091 # made by remember
  [ ! -f "$state/instance" ] || . "$state/instance"
}

log_text() {
  if [ "$KIND" = native ]; then cat "$state/rabbitmq.log"; else docker logs "$PID" 2>&1; fi
}

log_place() {
  if [ "$KIND" = native ]; then echo "$state/rabbitmq.log"; else echo "docker logs ${PID:0:12}"; fi
}

wait_ready() {
  local end=$((SECONDS + BROKER_TIMEOUT))
  until amqp_answers localhost "$AMQP_PORT" && http_answers localhost "$MANAGEMENT_PORT" &&
    { [ -z "$TLS_PORT" ] || port_open localhost "$TLS_PORT"; }; do
    if ! "${KIND}_runs"; then
      # Not grep -q: it would end before the whole log is read, which fails the pipe.
      if log_text | grep -E 'eaddrinuse|could_not_start_listener' >/dev/null; then
        die "a port was taken while RabbitMQ started; its log: $(log_place)" 3
      fi
      die "RabbitMQ stopped while it started; its log: $(log_place)"
    fi
    [ "$SECONDS" -lt "$end" ] || die "RabbitMQ does not answer after $BROKER_TIMEOUT s; its log: $(log_place)"
    sleep 0.2
  done
}

describe() { # WHAT HAPPENED
  local where="native node $BROKER_NAME@localhost, data in $state" version
  [ "$KIND" = native ] || where="compose project rabbitmq-$BROKER_NAME"
  version=$(log_text | sed -n 's/.*Starting RabbitMQ \([0-9][^ ]*\).*/\1/p' | tail -n 1)
  say "$1 RabbitMQ $version on localhost:$AMQP_PORT, console http://localhost:$MANAGEMENT_PORT ($where)"
}

# --- commands --------------------------------------------------------------------------------

cmd_up() {
  local address port kind=$BROKER
  if url_given; then
    address=$(url_address | tr ' ' :)
    given_answers || die "AMQP_URL is set, but no broker answers at $address: start it, or unset AMQP_URL"
    say "using the broker that AMQP_URL names, at $address"
    return
  fi
  if [ -n "$KIND" ]; then
    [ "${BROKER:-$KIND}" = "$KIND" ] || die "a $KIND broker named $BROKER_NAME is running: take it down first"
    wait_ready
    describe "already up:"
    return
  fi
  if [ "$BROKER" = external ] || { [ -z "$BROKER" ] && [ "$BROKER_NAME" = tutorial ]; }; then
    if amqp_answers localhost "$AMQP_PORT"; then
      say "using the broker that already answers on localhost:$AMQP_PORT, and leaving it as it is"
      return
    fi
    [ "$BROKER" != external ] || die "BROKER=external, but AMQP_URL is not set and no broker answers on localhost:$AMQP_PORT"
  fi

  # A node that crashed leaves its epmd, on the ports that it had.
  (recall && [ "$KIND" = native ] && stop_epmd) || :
  for port in "$AMQP_PORT" "$MANAGEMENT_PORT" $TLS_PORT; do
    ! port_open localhost "$port" || die "port $port is taken: choose others with AMQP_PORT, MANAGEMENT_PORT, TLS_PORT" 3
  done
  if [ -n "$RABBITMQ_ROOT" ]; then
    kind=native
  elif [ -z "$kind" ]; then
    kind=$(recall && echo "$KIND") # it has the data
  fi
  if [ "$kind" != native ] && docker_answers && compose_command >/dev/null; then
    kind=compose
  elif [ "$BROKER" = compose ]; then
    die "BROKER=compose, but no Docker engine with Compose answers"
  else
    kind=native
    native_sbin >/dev/null || install_server
  fi
  mkdir -p "$state"
  "start_$kind"
  wait_ready
  describe started
}

cmd_down() {
  recall
  if [ -z "$PID" ]; then
    say "nothing to stop: no broker named $BROKER_NAME that was started here is running"
    return
  fi
  "stop_$KIND"
  remember "$KIND" ''
  say "stopped the broker $BROKER_NAME; its data stays"
}

cmd_destroy() {
  local folder
  for folder in "$BROKER_HOME/$BROKER_NAME"-*/; do # brokers that its tests started and could not remove
    [ ! -f "$folder/instance" ] || BROKER_NAME=$(basename "$folder") "${BASH_SOURCE[0]}" destroy
  done
  recall
  if [ -z "$KIND" ]; then
    say "nothing to remove: no broker named $BROKER_NAME was started here"
    return
  fi
  if [ "$KIND" = compose ]; then
    stop_compose --volumes
  else
    ! native_runs || kill_native # there is nothing to save
    [ -z "$PID" ] || stop_epmd
  fi
  rm -rf "$state"
  rmdir "$BROKER_HOME" 2>/dev/null || :
  say "removed the broker $BROKER_NAME and its data"
}

# signal NAME: sends it to the whole node, as kill, pause and resume do.
cmd_signal() {
  [ -n "$KIND" ] || die "no broker named $BROKER_NAME is running that was started here"
  case $KIND-$1 in
  native-kill) kill_native ;;
  native-pause) kill -STOP "-$PID" ;;
  native-resume) kill -CONT "-$PID" ;;
  compose-kill) docker kill -s KILL "$PID" >/dev/null ;;
  compose-pause) docker pause "$PID" >/dev/null ;;
  compose-resume) docker unpause "$PID" >/dev/null ;;
  esac
  say "$1: $BROKER_NAME"
}

cmd_ctl() {
  case $KIND in
  native) exec_native rabbitmqctl "$@" ;;
  compose) exec docker exec "$PID" rabbitmqctl "$@" ;;
  esac
  local host=localhost port=$AMQP_PORT
  ! url_given || read -r host port <<<"$(url_address)"
  case $host in
  localhost | 127.* | ::1)
    # The system's own broker can be asked by root. (Without its epmd there is none.)
    if [ "$(id -u)" = 0 ] && [ -x /usr/sbin/rabbitmqctl ] && port_open localhost 4369 && amqp_answers "$host" "$port"; then
      exec /usr/sbin/rabbitmqctl "$@"
    fi
    ;;
  esac
  die "no broker is running that was started here (make up); for another one, run rabbitmqctl on its machine, as its administrator"
}

cmd_url() {
  if url_given; then printf '%s\n' "$AMQP_URL"; else printf '%s\n' "$(own_url)"; fi
}

cmd_env() {
  local kind=$KIND ours=yes management=http://guest:guest@localhost:$MANAGEMENT_PORT
  if url_given || [ -z "$KIND" ]; then
    kind=none ours=no management=''
    ! { url_given || amqp_answers localhost "$AMQP_PORT"; } || kind=external
  fi
  printf 'AMQP_URL=%q\nMANAGEMENT_URL=%q\nBROKER_KIND=%s\nBROKER_OURS=%s\n' \
    "$(cmd_url)" "$management" "$kind" "$ours"
}

# --- here we go ------------------------------------------------------------------------------

case $BROKER in
'' | external | compose | native) ;;
*) die "BROKER is \"$BROKER\": it must be external, compose or native (or not set)" 2 ;;
esac
case $BROKER_NAME in
[!a-z]* | *[!a-z0-9-]*) die "BROKER_NAME is \"$BROKER_NAME\": it must be lower-case letters, digits and -" 2 ;;
esac
[ -z "$BROKER_CONFIG" ] || [ -f "$BROKER_CONFIG" ] || die "BROKER_CONFIG: no file $BROKER_CONFIG"

case $BROKER_HOME in /*) ;; *) BROKER_HOME=$PWD/$BROKER_HOME ;; esac
case $BROKER_CONFIG in '' | /*) ;; *) BROKER_CONFIG=$PWD/$BROKER_CONFIG ;; esac
case $RABBITMQ_ROOT in '' | /*) ;; *) RABBITMQ_ROOT=$PWD/$RABBITMQ_ROOT ;; esac
state=$BROKER_HOME/$BROKER_NAME
config_folder=${BROKER_CONFIG%/*}
config_folder=${config_folder:-$BROKER_HOME}

# A running broker is as it was started; only a new one follows the environment.
if (recall && [ -n "$PID" ] && "${KIND}_runs"); then recall; fi

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
up | down | destroy | url | env)
  [ $# -eq 0 ] || die "usage: $0 $command" 2
  "cmd_$command"
  ;;
ctl) cmd_ctl "$@" ;;
kill | pause | resume) cmd_signal "$command" ;;
-h | --help | help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}" ;;
*) die "usage: $0 up|down|destroy|ctl|url|env|kill|pause|resume" 2 ;;
esac
