//! What happened: the statistics of a run, and the same script under each mode of the lock side by side.

mod comparison;
mod stats;
mod table;
mod totals;

pub use comparison::{Comparison, Subject};
pub use stats::report;
pub use totals::Totals;
