# The end-to-end suite: the cases, and what runs them. Sourced by docker/run, with the lab up.
# shellcheck shell=bash

# shellcheck source-path=SCRIPTDIR
source "$here/lib/check.sh"
# shellcheck source-path=SCRIPTDIR
source "$here/lib/cases.sh"
# shellcheck source-path=SCRIPTDIR
source "$here/lib/cases_faults.sh"

all_cases=(only_by_the_head limits_as_asked push_jump pull_jump push_tunnel pull_tunnel two_workers named_rsync image_alone
  head_restarted user_paused network_cut_and_healed network_cut_for_good)
cases=()

# choose_cases [NAME...]
choose_cases() {
  local name
  for name in "$@"; do
    [[ " ${all_cases[*]} " == *" $name "* ]] || misused "\"$name\" is no case: ${all_cases[*]}"
  done
  cases=("$@")
  (($# > 0)) || cases=("${all_cases[@]}")
}

run_cases() {
  local name failed=() begun took left_out=() status
  make_trees
  for name in "${cases[@]}"; do
    begun=$EPOCHREALTIME
    # In a process of its own, so that the first thing that fails ends the case.
    ("case_$name") >"$scratch/case" 2>&1 &
    status=0
    wait $! || status=$?
    if ((status == 77)); then
      left_out+=("$name")
      printf 'left out  %-20s %s\n' "$name" "$(tail -n 1 "$scratch/case")"
    elif ((status == 0)); then
      took=$(awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }')
      printf 'ok    %-24s %8s  %s\n' "$name" "$took" "$(tail -n 1 "$scratch/case")"
    else
      failed+=("$name")
      printf 'FAIL  %s\n' "$name"
      sed 's/^/      /' "$scratch/case"
      docker logs --tail 30 "${id[head]}" 2>&1 | sed 's/^/      head: /'
      docker logs --tail 30 "${id[user]}" 2>&1 | sed 's/^/      user: /'
    fi
  done
  if ((${#failed[@]})); then
    die "${#failed[@]} of ${#cases[@]} cases failed: ${failed[*]}"
  fi
  if ((${#left_out[@]})); then
    say "$((${#cases[@]} - ${#left_out[@]})) cases passed, left out: ${left_out[*]}"
  else
    say "all ${#cases[@]} cases passed"
  fi
}
