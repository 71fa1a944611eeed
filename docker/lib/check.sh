# What the cases are made of: trees, transfers by either route, and what must be true afterwards. Sourced by suite.sh.
# shellcheck shell=bash

# route NAME: sets the remote shell and the host.
route() {
  case $1 in
    jump) shell='ssh -J head' far=user ;;
    tunnel) shell='ssh -J head -p 2222' far=localhost ;;
  esac
}

# /data/tree at both ends: many small files, one that is sent in stripes, an empty one, names that need care. /data/many:
# enough files to be in the middle of when something breaks.
make_trees() {
  local host
  for host in user worker1 worker2; do
    there "$host" <<'SCRIPT'
mkdir -p /data/tree/deep/er /data/many
cd /data/tree
head -c $((12 << 20)) /dev/urandom >large.bin
: >empty
printf x >'two words, Ünïcode and '$'\n''a new line'
for n in $(seq 60); do head -c $((n * 997)) /dev/urandom >"deep/er/$n"; done
cd /data/many
for n in $(seq 300); do head -c 131072 /dev/urandom >"$n"; done
SCRIPT
  done
}

# hopsync_ WORKER REPORT ARGUMENTS...: as a worker runs it; its report is /data/REPORT.jsonl there.
hopsync_() {
  local worker=$1 report=$2
  shift 2
  in_ "$worker" hopsync -a --report="/data/$report.jsonl" -e "$shell" "$@"
}

summary() { in_ "$1" tail -n 1 "/data/$2.jsonl"; }

# same HOST DIRECTORY HOST DIRECTORY: the same files with the same content, and not none.
same() {
  local one=$scratch/one.$BASHPID other=$scratch/other.$BASHPID
  sums "$1" "$2" >"$one"
  sums "$3" "$4" >"$other"
  [[ -s $one ]] || die "$1:$2 is empty"
  diff "$one" "$other" || die "$3:$4 is not what $1:$2 is"
}

# among HOST DIRECTORY HOST DIRECTORY [COUNT]: what the first has is whole, as the second has it; and it is as many.
among() {
  local one=$scratch/one.$BASHPID other=$scratch/other.$BASHPID foreign
  sums "$1" "$2" | sort >"$one"
  sums "$3" "$4" | sort >"$other"
  foreign=$(comm -23 "$one" "$other")
  [[ -z $foreign ]] || die "$1:$2 has what $3:$4 has not: $foreign"
  [[ -z ${5:-} || $(wc -l <"$one") == "$5" ]] || die "$1:$2 has not $5 files"
}

# accounted WORKER REPORT FILES: all of them verified, and the report's sum is right.
accounted() {
  local line planned verified
  line=$(summary "$1" "$2")
  sum_holds "$line"
  planned=$(number planned <<<"$line") verified=$(number verified <<<"$line")
  ((planned == $3 && verified == $3)) || die "report: planned $planned, verified $verified, expected $3: $line"
}

sum_holds() {
  local key total=0 value
  [[ $1 == *'"event":"summary"'* && $1 != *miscounted* ]] || die "no proper summary: $1"
  for key in verified sent unchanged skipped failed; do
    value=$(number "$key" <<<"$1")
    total=$((total + value))
  done
  value=$(number planned <<<"$1")
  ((total == value)) || die "report: planned $value, but accounted for $total: $1"
}

# drops WORKER REPORT: attempts and connections that were lost and made good.
drops() {
  local line
  line=$(summary "$1" "$2")
  echo $(($(number dropped-attempts <<<"$line") + $(number dropped-connections <<<"$line") +
    $(number dropped-channels <<<"$line")))
}

# files HOST DIRECTORY COUNT: as many files have their final names there, or more.
files() {
  local n
  n=$(in_ "$1" find "$2" -type f ! -name '.*' -printf x | wc -c)
  ((n >= $3))
}

count() { in_ "$1" find "$2" -type f -printf x | wc -c; }
