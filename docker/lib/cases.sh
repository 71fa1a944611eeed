# Cases without faults: both routes, both directions, both workers, the image alone. Each is a function that ends at the
# first thing that is not as it should be; its last line is shown. Sourced by suite.sh.
# shellcheck shell=bash

# answers HOST ADDRESS: an sshd does, within three seconds.
answers() {
  # shellcheck disable=SC2016 # for the shell there
  LIMIT=3 in_ "$1" bash -c 'exec 3<>"/dev/tcp/$0/22" && read -r line <&3 && [[ $line == SSH-2.0-* ]]' "$2"
}

case_only_by_the_head() {
  local worker
  answers head "$FAR_NET.20" || die "the head does not reach the user container: it would prove nothing that others do not"
  for worker in worker1 worker2; do
    answers "$worker" "$NEAR_NET.10" || die "$worker does not reach the head"
    ! answers "$worker" "$FAR_NET.20" || die "$worker reaches the user container directly"
  done
  echo "the head reaches the user container, the workers only the head"
}

case_limits_as_asked() {
  local host said sessions startups
  for host in head user; do
    said=$(docker exec "${id[$host]}" sshd -T)
    case $host in
      head) sessions=${HEAD_MAX_SESSIONS:-10} startups=${HEAD_MAX_STARTUPS:-10:30:100} ;;
      user) sessions=${USER_MAX_SESSIONS:-10} startups=${USER_MAX_STARTUPS:-10:30:100} ;;
    esac
    grep -qix "maxsessions $sessions" <<<"$said" || die "$host: MaxSessions is not $sessions"
    grep -qix "maxstartups $startups" <<<"$said" || die "$host: MaxStartups is not $startups"
  done
  echo "MaxSessions $sessions, MaxStartups $startups"
}

push() { # ROUTE WORKER
  local name=push-$1-$2
  route "$1"
  hopsync_ "$2" "$name" /data/tree/ "$far:/data/$name/"
  same "$2" /data/tree user "/data/$name"
  accounted "$2" "$name" 63
}

pull() { # ROUTE WORKER
  local name=pull-$1-$2
  route "$1"
  hopsync_ "$2" "$name" "$far:/data/tree/" "/data/$name/"
  same user /data/tree "$2" "/data/$name"
  accounted "$2" "$name" 63
}

case_push_jump() { push jump worker1 && echo "63 files verified"; }
case_pull_jump() { pull jump worker1 && echo "63 files verified"; }
case_push_tunnel() { push tunnel worker1 && echo "63 files verified"; }
case_pull_tunnel() { pull tunnel worker1 && echo "63 files verified"; }

# Four at once: each worker pushes by one route and pulls by the other.
case_two_workers() {
  local pids=() pid
  in_ worker1 rm -rf /data/push-jump-worker1 /data/pull-tunnel-worker1
  in_ user rm -rf /data/push-jump-worker1
  push jump worker1 & pids+=($!)
  pull tunnel worker1 & pids+=($!)
  push tunnel worker2 & pids+=($!)
  pull jump worker2 & pids+=($!)
  for pid in "${pids[@]}"; do wait "$pid"; done
  echo "2 pushes, 2 pulls, by both routes"
}

# As Parsl's staging calls it, one file each, by a link that is named rsync: 40 at once from each worker.
case_named_rsync() {
  local worker pids=() pid
  for worker in worker1 worker2; do
    there "$worker" "$worker" <<'SCRIPT' &
mkdir /data/bin
ln -s /usr/local/bin/hopsync /data/bin/rsync
PATH=/data/bin:$PATH
rsync --version | grep -q '^hopsync' || { echo "rsync is not hopsync"; exit 1; }
pids=()
for n in $(seq 40); do
  rsync -avzq -e 'ssh -J head' --rsync-path="mkdir -p /data/parsl/$1 && rsync" "/data/many/$n" "user:/data/parsl/$1/" &
  pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
mkdir -p /data/parsl
pids=()
for n in $(seq 40); do rsync -avzq -e 'ssh -J head' "user:/data/many/$n" /data/parsl/ & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid"; done
SCRIPT
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
  for worker in worker1 worker2; do
    among user "/data/parsl/$worker" "$worker" /data/many 40
    among "$worker" /data/parsl user /data/many 40
  done
  echo "80 pushed, 80 pulled, one file each, all exit 0"
}

# alone NETWORK ARGUMENTS...: the image for use, with worker1's keys and data; nothing but hopsync is in it.
alone() {
  local network=$1
  shift
  timeout --foreground 180 docker run --rm --network "$network" --volumes-from "${id[worker1]}" -u 1000:1000 \
    -e HOME=/home/lab "$hopsync_image" "$@"
}

case_image_alone() {
  local said
  [[ -z $needs_libraries ]] || lack "the image for use wants a static hopsync, which $binary is not"
  said=$(docker run --rm "$hopsync_image" --version)
  [[ $said == hopsync* ]] || die "--version says: $said"
  alone "${project}_near" -a --report=/data/alone.jsonl -e 'ssh -J head' /data/tree/ user:/data/alone/
  same worker1 /data/tree user /data/alone
  accounted worker1 alone 63
  alone "${project}_near" -a --report=/data/alone-pull.jsonl -e 'ssh -J head -p 2222' localhost:/data/tree/ /data/alone/
  same user /data/tree worker1 /data/alone
  accounted worker1 alone-pull 63
  # A name that does not resolve is told as that: the static C library looks names up as well as any.
  ! said=$(alone none -a -e 'ssh -J nowhere.invalid' /data/tree/ user:/data/x/ 2>&1) ||
    die "a push by way of nowhere is no failure"
  [[ $said == *nowhere.invalid*resolve* ]] || die "an unknown name is not told: $said"
  echo "--version, push, pull"
}
