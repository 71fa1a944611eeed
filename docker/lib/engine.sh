# The engine, and what every part of docker/run needs: words, bounds, tidying up. Sourced by docker/run.
# shellcheck shell=bash

say() { printf 'docker/run: %s\n' "$*"; }

die() {
  printf 'docker/run: %s\n' "$*" >&2
  exit 1
}

# The machine has not what it takes: that is no failure of hopsync.
lack() {
  printf 'docker/run: left out: %s\n' "$*" >&2
  exit 77
}

compose=()

# An engine that answers, and a compose tool: the plugin, or the older program of its own.
find_engine() {
  command -v docker >/dev/null || lack "there is no docker on this machine"
  local answer
  answer=$(timeout --foreground 20 docker info --format '{{.ServerVersion}} {{.OSType}}' 2>&1) ||
    lack "no Docker engine answers: $(tail -n 1 <<<"$answer")"
  [[ $answer == *' linux' ]] || lack "the Docker engine runs no Linux containers: $answer"
  if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
  elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
  else
    lack "there is neither \"docker compose\" nor docker-compose"
  fi
}

scratch=''

# A directory that goes when docker/run ends, with the lab, however it ends.
scratch_space() {
  local place free
  for place in "${TMPDIR:-/tmp}" "$(docker info --format '{{.DockerRootDir}}')"; do
    # An engine elsewhere has its own disk.
    [[ -d $place ]] || continue
    free=$(df --output=avail -BM "$place" | tail -n 1 | tr -dc 0-9)
    ((free >= 3000)) || lack "only $free MB are free in $place; it takes 3000"
  done
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/hopsync-docker.XXXXXX")
  trap tidy_up EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

tidy_up() {
  local status=$? running
  trap '' HUP INT TERM
  set +e
  running=$(jobs -p)
  # shellcheck disable=SC2086 # one word for each process
  [[ -z $running ]] || kill $running 2>/dev/null
  [[ -z ${project:-} ]] || take_down "$project"
  remove_run_tags
  rm -rf "$scratch"
  exit "$status"
}

# quietly WHAT COMMAND...: its output is shown only if it fails.
quietly() {
  local what=$1 log=$scratch/output
  shift
  "$@" >"$log" 2>&1 </dev/null && return
  local status=$?
  tail -n 40 "$log" >&2
  printf 'docker/run: %s failed (exit %s)\n' "$what" "$status" >&2
  return "$status"
}

# wait_until SECONDS WHAT COMMAND...: until it succeeds.
wait_until() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || die "waited in vain: $what"
    sleep 0.2
  done
}
