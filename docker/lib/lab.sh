# The lab: brings its hosts up, reaches into them, takes them down. Sourced by docker/run.
# shellcheck shell=bash

project=''
declare -A id=()
hosts=(head user worker1 worker2)

# A /24 of 10/8 that no route of this machine and no network of the engine leads to, as far as can be seen from here; the
# engine has the last word.
free_network() {
  local taken net
  # shellcheck disable=SC2046 # one word for each network
  taken=$(ip -4 route 2>/dev/null || true; docker network inspect $(docker network ls -q) 2>/dev/null || true)
  for _ in {1..50}; do
    net=10.$((RANDOM % 155 + 100)).$((RANDOM % 256))
    [[ $taken == *"$net."* ]] || break
  done
  echo "$net"
}

bring_up() {
  local try
  for try in {1..5}; do
    NEAR_NET=$(free_network) FAR_NET=$(free_network)
    export NEAR_NET FAR_NET
    project=hopsync-$(date +%H%M%S)-$$
    if timeout --foreground 180 "${compose[@]}" -p "$project" -f "$here/compose.yaml" up -d >"$scratch/up" 2>&1 </dev/null; then
      break
    fi
    take_down "$project"
    project=''
    grep -qi overlap "$scratch/up" && ((try < 5)) || {
      cat "$scratch/up" >&2
      die "the lab does not come up"
    }
  done
  local host
  for host in "${hosts[@]}"; do
    id[$host]=$(docker ps -q --filter "label=com.docker.compose.project=$project" \
      --filter "label=com.docker.compose.service=$host")
    wait_until 60 "for $host to be healthy" healthy "$host"
  done
  wait_until 30 "for the reverse tunnel" tunnel_is_up
  # Logs in over both routes: nothing is measured or tested before the way is there.
  local worker
  for worker in worker1 worker2; do
    wait_until 30 "for $worker to log in through the head" in_ "$worker" ssh -J head user true
    wait_until 30 "for $worker to log in through the tunnel" in_ "$worker" ssh -J head -p 2222 localhost true
  done
  say "up: $project (worker1, worker2 on $NEAR_NET.0/24; head on both; user container $FAR_NET.20)"
}

healthy() { [[ $(docker inspect --format '{{.State.Health.Status}}' "${id[$1]}") == healthy ]]; }

# Port 2222 listens at the head: proc(5) has it in hexadecimal, with state 0A.
tunnel_is_up() { in_ head grep -Eq ':08AE [0-9A-F:]+ 0A' /proc/net/tcp; }

# For trying things by hand: left running.
keep_up() {
  say "try:  docker exec -it -u lab ${id[worker1]} bash     there: hopsync -av -e 'ssh -J head' /etc/hostname user:/data/"
  say "other hosts:  $(for host in head user worker2; do printf '%s %s  ' "$host" "${id[$host]}"; done)"
  say "take it down:  docker/run down $project"
  project=''
}

# take_down PROJECT: by its label, so that it works in any state, and with either compose tool.
take_down() {
  local filter=label=com.docker.compose.project=$1 ids
  ids=$(docker ps -aq --filter "$filter")
  if [[ -n $ids ]]; then
    # shellcheck disable=SC2086 # one word for each
    docker unpause $ids >/dev/null 2>&1 || true
    # shellcheck disable=SC2086
    timeout --foreground 120 docker rm -f -v $ids >/dev/null || say "containers of $1 are left"
  fi
  ids=$(docker network ls -q --filter "$filter")
  # shellcheck disable=SC2086
  [[ -z $ids ]] || timeout --foreground 60 docker network rm $ids >/dev/null || say "networks of $1 are left"
  ids=$(docker volume ls -q --filter "$filter")
  # shellcheck disable=SC2086
  [[ -z $ids ]] || timeout --foreground 60 docker volume rm $ids >/dev/null || say "volumes of $1 are left"
}

# in_ HOST COMMAND...: there, as "lab", for at most $LIMIT seconds (180). The inner bound ends the command itself.
in_() {
  local host=$1 limit=${LIMIT:-180}
  shift
  timeout --foreground -k 5 $((limit + 20)) docker exec -i -u lab "${id[$host]}" timeout -k 5 "$limit" "$@" </dev/null
}

# there HOST WORDS...: the script on standard input, with these arguments.
there() {
  local host=$1 limit=${LIMIT:-180}
  shift
  timeout --foreground -k 5 $((limit + 20)) docker exec -i -u lab "${id[$host]}" timeout -k 5 "$limit" bash -euo pipefail -s -- "$@"
}

# sums HOST DIRECTORY: a line for each file below it, by name: its hash and its name.
sums() {
  there "$1" "$2" <<'SCRIPT'
cd "$1"
find . -type f -print0 | sort -z | xargs -0r sha256sum
SCRIPT
}

# number KEY: of the summary on standard input; the first of that name is the run's own.
number() {
  local text
  text=$(cat)
  [[ $text =~ \"$1\":([0-9]+) ]] || die "a report's summary has no \"$1\": $text"
  echo "${BASH_REMATCH[1]}"
}
