//! Everything that is printed: rsync's lines as pure functions, and one [`Printer`] that owns standard output and error.
//!
//! Formats were compared with rsync 3.5.0 by running it. Names and server text are escaped here and nowhere else.

mod format;
mod itemize;
mod listing;
mod log;
pub(crate) mod number;
mod printer;
mod progress;
mod stats;
mod streams;
mod text;
mod watch;

pub use format::has as format_has;
pub use itemize::{Item, Kept, Update};
pub use printer::{Printer, Skip, print_text, print_usage_error};
pub use progress::Tally;
pub use stats::{Counts, Stats};
pub use text::{escape_name, escape_text};
pub use watch::Watch;
