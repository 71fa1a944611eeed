# A stand-in for RUST_IMAGE where no image registry answers: this machine's toolchain, and the crates that Cargo.lock names.
# docker/run sends the context: bin and lib of the toolchain, and cargo (index and crates).
FROM debian:bookworm-slim
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
ENV CARGO_HOME=/usr/local/cargo CARGO_NET_OFFLINE=true PATH=/usr/local/rust/bin:$PATH
COPY bin /usr/local/rust/bin
COPY lib /usr/local/rust/lib
COPY cargo /usr/local/cargo
