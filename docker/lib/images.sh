# The images: bases by name from a registry or made on this machine, hopsync's own, and the hosts of the lab. Sourced by
# docker/run. What is built keeps its tag, as a cache; "docker/run clean" removes it.
# shellcheck shell=bash

debian=debian:bookworm-slim
rust=rust:1-bookworm
label=hopsync.made-by=docker/run
run=run-$$-$RANDOM

present() { docker image inspect "$1" >/dev/null 2>&1; }

# pulled IMAGE SECONDS
pulled() {
  present "$1" || timeout --foreground "$2" docker pull -q "$1" >"$scratch/pull" 2>&1
}

# build IMAGE ARGUMENTS...: under this name, and under a tag of this run's own. On the host's network, because a container
# may not know the way to the package mirrors that this machine knows; proxies likewise.
build() {
  local image=$1 proxies=() name
  shift
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [[ -z ${!name:-} ]] || proxies+=(--build-arg "$name")
  done
  timeout --foreground 3000 docker build --network=host --label "$label" "${proxies[@]}" \
    -t "$image" -t "${image%:*}:$run" "$@" >"$scratch/build" 2>&1 </dev/null || {
    tail -n 40 "$scratch/build" >&2
    ! grep -q 'no space left on device' "$scratch/build" || lack "the engine's disk is full"
    # 100 is apt-get's.
    ! grep -Eq '(code|exit code): 100$' "$scratch/build" || lack "a container does not reach Debian's packages"
    die "docker build failed: $image"
  }
}

# What apt needs to be told on this machine to reach its mirrors, and only that.
apt_settings() { apt-config dump 2>/dev/null | grep -E '^Acquire::(https?::Proxy|Check-|https::Ca)' || true; }

# The mirror of Debian that this machine itself uses, if it says so; debootstrap knows one otherwise.
apt_mirror() {
  # shellcheck disable=SC2016 # apt's own variables
  apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
    awk '$2 == "bookworm" && $3 == "main" { print $1; exit }'
}

# Debian's base, by its name. Where no registry answers it is made of Debian's packages.
base_image() {
  pulled "$debian" 180 && return
  say "no registry gave $debian: making it from Debian's packages by debootstrap"
  [[ $(id -u) == 0 ]] || lack "$debian can be made by root only, and no registry gave it"
  if ! command -v debootstrap >/dev/null; then
    command -v apt-get >/dev/null || lack "there is no debootstrap, and no apt-get to install it"
    (
      export DEBIAN_FRONTEND=noninteractive
      timeout --foreground 120 apt-get update -qq &&
        timeout --foreground 300 apt-get install -y -qq --no-install-recommends debootstrap debian-archive-keyring
    ) >"$scratch/debootstrap" 2>&1 </dev/null ||
      lack "debootstrap cannot be installed: $(tail -n 1 "$scratch/debootstrap")"
  fi
  local root=$scratch/debian mirror
  mirror=$(apt_mirror)
  timeout --foreground 600 debootstrap --variant=minbase bookworm "$root" ${mirror:+"$mirror"} \
    >"$scratch/debootstrap" 2>&1 </dev/null ||
    lack "debootstrap failed: $(tail -n 1 "$scratch/debootstrap")"
  apt_settings >"$root/etc/apt/apt.conf.d/90host"
  # As in Debian's own image: what is built in a container need not survive a power cut, nor have translations.
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
  echo 'Acquire::Languages "none";' >"$root/etc/apt/apt.conf.d/91languages"
  # As "slim" means it: without documentation, translations, and apt's caches.
  rm -rf "$root"/usr/share/{doc,man,info,locale}/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log
  tar -C "$root" --one-file-system -c . |
    docker import --change 'CMD ["bash"]' --change "LABEL $label" - "$debian" >/dev/null || lack "the engine takes no image"
  rm -rf "$root"
}

# The image that hopsync is built in: Rust's own, by its name, or this machine's toolchain and crates.
rust_image() {
  if pulled "$rust" 900; then
    build_base=$rust
    return
  fi
  command -v cargo >/dev/null || lack "no registry gave $rust, and there is no cargo on this machine to make it of"
  base_image
  local host key
  host=$(cd "$checkout" && rustc -vV | sed -n 's/^host: //p')
  key=$( (cd "$checkout" && rustc -vV && cat Cargo.lock docker/rust-from-host.Dockerfile) | sha256sum | cut -c1-12)
  build_base=hopsync-rust:$key
  present "$build_base" && return
  say "no registry gave $rust: making $build_base from this machine's toolchain and crates"
  quietly "cargo fetch" timeout --foreground 600 cargo fetch --locked --target "$host" --manifest-path "$checkout/Cargo.toml" ||
    lack "the crates cannot be had"
  local context=$scratch/rust toolchain
  toolchain=$(cd "$checkout" && rustc --print sysroot)
  gather_crates "$context/cargo/registry"
  mkdir -p "$context/bin"
  cp "$toolchain"/bin/{cargo,rustc} "$context/bin/"
  mkdir -p "$context/lib/rustlib"
  cp -r "$toolchain/lib/rustlib/$host" "$context/lib/rustlib/"
  find "$toolchain/lib" -maxdepth 1 -type f -exec cp -t "$context/lib" {} +
  build "$build_base" -f "$here/rust-from-host.Dockerfile" "$context"
  rm -rf "$context"
}

# gather_crates DIRECTORY: the index, and the crates that Cargo.lock names, out of cargo's cache.
gather_crates() {
  local registry=${CARGO_HOME:-$HOME/.cargo}/registry name cache
  mkdir -p "$1"
  cp -r "$registry/index" "$1/"
  awk '/^name = /{ name = $3 } /^version = /{ print name "-" $3 }' "$checkout/Cargo.lock" | tr -d '"' >"$scratch/crates"
  for cache in "$registry"/cache/*/; do
    mkdir -p "$1/cache/$(basename "$cache")"
    while read -r name; do
      # Crates of other systems were never fetched.
      [[ ! -f $cache$name.crate ]] || cp "$cache$name.crate" "$1/cache/$(basename "$cache")/"
    done <"$scratch/crates"
  done
}

make_static='make a static one: cargo rustc --bin hopsync -- -C target-feature=+crt-static'

# The image for use. A program that needs libraries is no use in it, but does for the workers of a test: they have Debian's.
hopsync_image=hopsync:$run
needs_libraries=''
build_hopsync() {
  if [[ -n $binary ]]; then
    [[ -f $binary && -x $binary ]] || die "--binary: $binary is no program"
    mkdir "$scratch/binary"
    cp "$binary" "$scratch/binary/hopsync"
    # The last stage of docker/Dockerfile, with the program from here instead of from the stage before.
    sed -n '/^FROM scratch/,$p' "$here/Dockerfile" | sed -E 's|^COPY .*|COPY hopsync /hopsync|' >"$scratch/binary/Dockerfile"
    build hopsync "$scratch/binary"
    if ! timeout --foreground 60 docker run --rm "$hopsync_image" --version >/dev/null 2>&1; then
      [[ $verb == test ]] || die "--binary: $binary needs libraries, and the image for use has none; $make_static"
      needs_libraries=yes
    fi
    return
  fi
  rust_image
  say "building hopsync from the checkout in a stage of its own"
  build hopsync --build-arg "RUST_IMAGE=$build_base" -f "$here/Dockerfile" "$checkout"
}

describe_hopsync() {
  local size version
  size=$(docker image inspect --format '{{.Size}}' "$hopsync_image")
  version=$(timeout --foreground 60 docker run --rm "$hopsync_image" --version)
  say "image hopsync: $(awk -v n="$size" 'BEGIN { printf "%.1f MB", n / 1e6 }'), ${version%%$'\n'*}"
}

# All that the lab runs. What is used has this run's own tag: another run may move "latest" meanwhile.
build_all() {
  base_image
  build_hopsync
  say "building the hosts of the lab"
  build hopsync-head --target head "$here/lab"
  build hopsync-user --target user "$here/lab"
  build hopsync-worker --target worker --build-arg "HOPSYNC_IMAGE=$hopsync_image" "$here/lab"
  export HEAD_IMAGE=hopsync-head:$run USER_IMAGE=hopsync-user:$run WORKER_IMAGE=hopsync-worker:$run
  if [[ -z $needs_libraries ]]; then
    describe_hopsync
  else
    timeout --foreground 60 docker run --rm --entrypoint hopsync "$WORKER_IMAGE" --version >"$scratch/version" 2>&1 ||
      die "--binary: $binary does not run on $debian: $(head -n 1 "$scratch/version"); $make_static"
  fi
}

# The tags of this run. The images stay, as a cache, under their names.
remove_run_tags() {
  docker image rm hopsync{,-head,-user,-worker,-rust}:"$run" >/dev/null 2>&1 || true
}

# Every image with our label, and nothing else: a base that a registry gave stays.
remove_images() {
  local ids
  while ids=$(docker image ls -aq --filter "label=$label" | sort -u) && [[ -n $ids ]]; do
    local before=$ids
    # shellcheck disable=SC2086 # one word for each image
    docker image rm -f $ids >/dev/null 2>&1 || true
    ids=$(docker image ls -aq --filter "label=$label" | sort -u)
    [[ $ids != "$before" ]] || die "images in use are left: docker image ls --filter label=$label"
  done
  say "images removed"
}
