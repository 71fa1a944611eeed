//! Filter rules.

/// One filter rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {}
