//! The ledger's rules, as its callers see them.
