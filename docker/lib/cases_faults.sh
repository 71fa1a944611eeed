# Cases with faults, each in the middle of a transfer: what is delivered is whole all the same, or the failure is told.
# Sourced by suite.sh.
# shellcheck shell=bash

# Slow enough to be in the middle of: /data/many is 37.5 MiB, and 4 MiB/s are ten seconds.
slowly=--bwlimit=4M

# under_way NAME [OPTIONS]: two transfers of /data/many are in their middle: worker1 pushes by the jump, worker2 pulls by
# the tunnel. The options are those of the first one's ssh.
under_way() {
  # A case may be asked for twice.
  name=$1.$BASHPID pids=()
  route jump
  shell+=${2:-}
  hopsync_ worker1 "$name" "$slowly" /data/many/ "$far:/data/$name/" & pids+=($!)
  route tunnel
  hopsync_ worker2 "$name" "$slowly" "$far:/data/many/" "/data/$name/" & pids+=($!)
  wait_until 30 "for worker1's push to be under way" files user "/data/$name" 20
  wait_until 30 "for worker2's pull to be under way" files worker2 "/data/$name" 20
  ! files user "/data/$name" 300 && ! files worker2 "/data/$name" 300 || die "it was over too soon to break anything"
}

delivered() {
  wait "${pids[0]}" || die "worker1's push: exit $?"
  wait "${pids[1]}" || die "worker2's pull: exit $?"
  same worker1 /data/many user "/data/$name"
  same user /data/many worker2 "/data/$name"
  accounted worker1 "$name" 300
  accounted worker2 "$name" 300
}

case_head_restarted() {
  local one two
  under_way restarted
  docker restart -t 0 "${id[head]}"
  delivered
  one=$(drops worker1 "$name") two=$(drops worker2 "$name")
  ((one > 0 && two > 0)) || die "the head was restarted, and no drop was told: $one, $two"
  wait_until 30 "for the reverse tunnel" tunnel_is_up
  echo "2 × 300 files whole; drops told and made good: $one and $two"
}

case_user_paused() {
  local before after begun=$SECONDS
  trap 'docker unpause "${id[user]}" >/dev/null 2>&1 || true' EXIT
  under_way paused
  docker pause "${id[user]}"
  before=$(count worker2 "/data/$name")
  # The length of the pause is what the case is about.
  sleep 20
  after=$(count worker2 "/data/$name")
  docker unpause "${id[user]}"
  ((after < 300)) || die "the pull went on without its source: $before files, then $after"
  delivered
  echo "2 × 300 files whole in $((SECONDS - begun)) s; drops made good: $(drops worker1 "$name") and $(drops worker2 "$name")"
}

cut_off() { docker network disconnect "${project}_far" "${id[user]}"; }

# With the address and the name that it had.
heal() { docker network connect --ip "$FAR_NET.20" --alias user "${project}_far" "${id[user]}"; }

address() { docker inspect --format "{{(index .NetworkSettings.Networks \"${project}_far\").IPAddress}}" "${id[user]}"; }

case_network_cut_and_healed() {
  local one
  trap 'heal >/dev/null 2>&1 || true' EXIT
  under_way cut ' -o ServerAliveInterval=1 -o ServerAliveCountMax=3'
  cut_off
  # Longer than the first waits for an answer before it gives its connection up, shorter than the second does.
  sleep 8
  heal
  [[ $(address) == "$FAR_NET.20" ]] || die "the user container came back as $(address)"
  delivered
  one=$(drops worker1 "$name")
  ((one > 0)) || die "worker1's connection was given up, and no drop was told"
  wait_until 60 "for the reverse tunnel" tunnel_is_up
  echo "2 × 300 files whole; drops told and made good: $one and $(drops worker2 "$name")"
}

no_sftp_servers() { in_ "$1" sh -c '! grep -qsx sftp-server /proc/[0-9]*/comm'; }

# It has to fail, and soon; say where and why; account for every file; and leave nothing half under a final name.
case_network_cut_for_good() {
  local status=0 begun=$SECONDS said line failed
  trap 'heal >/dev/null 2>&1 || true' EXIT
  route jump
  hopsync_ worker1 for-good "$slowly" --timeout=5 --contimeout=5 /data/many/ "$far:/data/for-good/" 2>"$scratch/said" &
  wait_until 30 "for the push to be under way" files user /data/for-good 20
  cut_off
  wait $! || status=$?
  heal
  said=$(<"$scratch/said")
  echo "$said"
  ((status != 0)) || die "exit 0, though the network was cut for good"
  ((SECONDS - begun < 90)) || die "it took $((SECONDS - begun)) s to give up"
  [[ $said == *user* && $said == *[Tt]ime* ]] || die "it does not say that user did not answer: $said"
  line=$(summary worker1 for-good)
  sum_holds "$line"
  failed=$(number failed <<<"$line")
  ((failed > 0 && $(number planned <<<"$line") == 300)) || die "report: $line"
  # What the head still held for user reaches it once the network is there again: requests that create temporary files,
  # after which user sees its end of the connection. Nobody is left to remove them; they begin with a dot.
  wait_until 60 "for user to have no SFTP server left" no_sftp_servers user
  in_ user find /data/for-good -name '.*' -type f -delete
  among user /data/for-good worker1 /data/many
  wait_until 60 "for the reverse tunnel" tunnel_is_up
  wait_until 30 "for worker1 to log in again" in_ worker1 ssh -J head user true
  echo "exit $status after $((SECONDS - begun)) s, $failed of 300 failed: $(grep -m 1 user <<<"$said" | cut -c 1-100)"
}
