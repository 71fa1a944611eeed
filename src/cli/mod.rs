//! rsync's grammar.
