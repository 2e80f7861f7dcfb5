//! The statistics of a run as text.

use std::fmt::Write;

use super::table::{count, figures, milliseconds};
use crate::runtime::GilMode;
use crate::stats::{Stats, ThreadStats};

/// Threads of which the table has a row each; the others share one.
const MOST_ROWS: usize = 40;

/// What the lock and every thread did: a line of counters and a row per thread, times in milliseconds.
pub fn report(stats: &Stats) -> String {
    let mut text = counters(stats);
    let (shown, others) = stats.threads.split_at(stats.threads.len().min(MOST_ROWS));
    let mut rows: Vec<Vec<String>> = shown.iter().map(|thread| row(&thread.name, &[thread])).collect();
    if !others.is_empty() {
        rows.push(row(&format!("{} more threads", count(others.len() as u64)), &Vec::from_iter(others)));
    }
    if stats.threads.len() > 1 {
        rows.push(row("all", &Vec::from_iter(&stats.threads)));
    }
    let header = ["thread", "ticks", "held ms", "waited ms", "blocked ms"].map(String::from);
    text.push('\n');
    text.push_str(&figures(header.to_vec(), rows));
    text.push('\n');
    text
}

fn counters(stats: &Stats) -> String {
    let mut text = format!("GIL {}", stats.mode);
    if stats.mode == GilMode::Off {
        text.push_str(": no lock, so nothing was held or waited for\n");
        return text;
    }
    let gil = stats.gil;
    let _ = write!(text, ": {} switches", count(gil.switches));
    if matches!(stats.mode, GilMode::Interval(_)) {
        let _ = write!(text, ", {} of them forced", count(gil.forced_switches));
        let _ = write!(text, "; {} drop requests", count(gil.drop_requests));
    }
    let _ = writeln!(text, "; {} waits for the lock", count(gil.waits));
    text
}

fn row(name: &str, threads: &[&ThreadStats]) -> Vec<String> {
    let sum = |time: fn(&ThreadStats) -> std::time::Duration| {
        milliseconds(threads.iter().map(|thread| time(thread)).sum())
    };
    vec![
        name.to_string(),
        count(threads.iter().map(|thread| thread.times.ticks).sum()),
        sum(|thread| thread.times.held),
        sum(|thread| thread.times.waited),
        sum(|thread| thread.times.blocked),
    ]
}
