//! `progress: true`: a bar on standard error, if that is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far a `map` has come.
pub struct Progress(ProgressBar);

/// Drawing costs a system call; more often than that nobody sees.
const DRAWS_PER_SECOND: u8 = 10;

impl Progress {
    /// A bar for so many calls; nothing if standard error is no terminal.
    pub fn new(calls: usize) -> Option<Self> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
        let bar = ProgressBar::with_draw_target(Some(calls as u64), target);
        let template = "{percent:>3}% |{bar:40}| {pos}/{len} [{elapsed}<{eta}, {per_sec}]";
        bar.set_style(ProgressStyle::with_template(template).expect("a template of ours"));
        bar.tick();
        Some(Self(bar))
    }

    /// So many calls more are over.
    pub fn advance(&self, calls: usize) {
        self.0.inc(calls as u64);
    }

    /// All are over, or no more will be: leaves the bar as it is.
    pub fn finish(&self) {
        self.0.abandon();
    }
}
