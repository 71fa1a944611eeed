//! `hopsync-lab demo`: the whole thing on this machine, without a cluster.
