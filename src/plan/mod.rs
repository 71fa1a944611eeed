//! Pure decisions.
pub mod filter;
