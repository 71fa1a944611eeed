# The experiment: one file per program, all started at once from both workers, by the jump, at sshd's default limits. First
# rsync, then hopsync, then hopsync without its shared connection: so that what the servers drop, and how it is made good, is
# seen too. Sourced by docker/run, with the lab up.
# shellcheck shell=bash

# Half of the files from each worker; their size in bytes.
demo_files=${DEMO_FILES:-400}
demo_size=${DEMO_SIZE:-1048576}

demo() {
  local half=$((demo_files / 2)) worker
  [[ $demo_files =~ ^[0-9]+$ && $demo_size =~ ^[0-9]+$ ]] && ((half > 0)) ||
    die "DEMO_FILES and DEMO_SIZE are numbers, the first at least 2"
  for worker in worker1 worker2; do
    there "$worker" "$half" "$demo_size" <<'SCRIPT'
mkdir -p /data/files
for n in $(seq "$1"); do head -c "$2" /dev/urandom >"/data/files/$HOSTNAME-$n"; done
SCRIPT
  done
  say "$((half * 2)) files of $demo_size bytes at once, $half from each worker; MaxSessions and MaxStartups: head" \
    "${HEAD_MAX_SESSIONS:-10}, ${HEAD_MAX_STARTUPS:-10:30:100};" \
    "user container ${USER_MAX_SESSIONS:-10}, ${USER_MAX_STARTUPS:-10:30:100}"
  printf '\n%-20s %12s %8s %9s   %s\n' '' delivered 'exit 0' seconds \
    'dropped by sshd (MaxStartups): head, user container'
  storm rsync 'rsync -avzq'
  storm hopsync 'hopsync -avzq'
  storm hopsync--no-share 'hopsync -avzq --no-share'
  local name
  for name in rsync hopsync hopsync--no-share; do account "$name"; done
  keep_reports
}

# storm NAME COMMAND: a line of the table.
storm() {
  local name=$1 head user begun took good delivered worker
  in_ user mkdir -p "/data/$name"
  head=$(dropped head) user=$(dropped user) begun=$EPOCHREALTIME
  start_all worker1 "$name" "$2" &
  start_all worker2 "$name" "$2" &
  wait -n && wait -n || die "$name: the programs could not be started, or did not end"
  took=$(awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  good=$(for worker in worker1 worker2; do in_ "$worker" sh -c 'cat /data/'"$name"'.exit/*'; done | grep -cx 0 || true)
  # By hash, against what was to be sent: no program's word is taken for it.
  for worker in worker1 worker2; do sums "$worker" /data/files; done | sort >"$scratch/sent"
  delivered=$(sums user "/data/$name" | sort | comm -12 - "$scratch/sent" | wc -l)
  printf '%-20s %12s %8s %9s   %s, %s\n' "${name//--/ --}" "$delivered of $((half * 2))" "$good" "$took" \
    $(($(dropped head) - head)) $(($(dropped user) - user))
}

# start_all WORKER NAME COMMAND: one for each file, in the background; waits for them all.
start_all() {
  LIMIT=420 there "$1" "$2" "$3" <<'SCRIPT'
mkdir -p "/data/$1.exit" "/data/$1.said" "/data/$1.reports"
cd /data/files
for file in *; do
  (
    report=
    [[ $1 != hopsync* ]] || report=--report=/data/$1.reports/$file.jsonl
    status=0
    # shellcheck disable=SC2086 # words
    timeout 400 $2 $report -e 'ssh -J head' "$file" "user:/data/$1/" >"/data/$1.said/$file" 2>&1 </dev/null || status=$?
    echo "$status" >"/data/$1.exit/$file"
  ) &
done
wait
SCRIPT
}

# dropped HOST: connections that its sshd has turned away until now, by its own log.
dropped() { docker logs "${id[$1]}" 2>&1 | grep -c 'past MaxStartups' || true; }

# account NAME: what the program itself says was lost. hopsync: by hop, stage and cause, out of its reports. rsync: its words.
account() {
  local name=$1 worker
  printf '\n%s\n' "${name//--/ --}, by its own account:"
  if [[ $name == rsync ]]; then
    for worker in worker1 worker2; do in_ "$worker" sh -c 'cat /data/rsync.said/*'; done |
      sed -E 's/[0-9.]+ port [0-9]+/ADDRESS/; s/\[[0-9]+\]//' | sort | uniq -c | sort -rn | head -n 4
    return
  fi
  for worker in worker1 worker2; do in_ "$worker" sh -c 'tail -qn 1 /data/'"$name"'.reports/*'; done >"$scratch/summaries"
  grep -c '"event":"summary"' "$scratch/summaries" | sed 's/^/  reports: /'
  # A trouble's fields come in this order (docs/report.md).
  { grep -oE '\{"hop":"[^"]*","stage":"[^"]*","cause":"[^"]*"(,"[a-z-]+":[0-9]+)+' "$scratch/summaries" || true; } | tr -d '{"' |
    awk -F '[,:]' '
      { key = sprintf("%-6s %-10s %-14s", $2, $4, $6); seen[key] = 1
        for (i = 7; i < NF; i += 2) {
          if ($i == "files-failed" || $i == "other-failures") failed[key] += $(i + 1)
          else retried[key] += $(i + 1)
        } }
      END { for (key in seen) printf "  %s %5d failed, %5d dropped and tried again\n", key, failed[key], retried[key]
            if (!length(seen)) print "  no drop" }' | sort
}

# Where --reports DIR was given: hopsync's reports, a file for each run, and a page of them where there is what makes it.
keep_reports() {
  if [[ -z $reports ]]; then
    say "with --reports DIR hopsync's reports are kept, and drawn as a page"
    return
  fi
  local name worker lab
  for name in hopsync hopsync--no-share; do
    mkdir -p "$reports/$name"
    for worker in worker1 worker2; do docker cp "${id[$worker]}:/data/$name.reports/." "$reports/$name" >/dev/null; done
  done
  say "reports: $reports"
  for lab in "${CARGO_TARGET_DIR:-$checkout/target}"/{release,debug}/hopsync-lab; do
    [[ -x $lab ]] || continue
    for name in hopsync hopsync--no-share; do
      timeout --foreground 60 "$lab" report "$reports/$name" --out "$reports/$name.html" &&
        say "a page of them: $reports/$name.html"
    done
    return 0
  done
  say "a page of them: cargo run --release --bin hopsync-lab -- report $reports/hopsync --out $reports/hopsync.html"
}
