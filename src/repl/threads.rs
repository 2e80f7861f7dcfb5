//! `:threads`: what every thread is doing.

use std::time::Duration;

use onelock::runtime::{Runtime, Thread, ThreadState, current};

/// A row per thread: identifier, name, daemon or not, state.
pub fn overview(runtime: &Runtime) -> String {
    let threads = runtime.threads();
    let own = current().map(|thread| thread.id());
    let width = threads.iter().map(|thread| thread.name().chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!("{:<16} {:<width$} daemon  state\n", "id", "name");
    for thread in threads {
        let state = if own == Some(thread.id()) { "at the prompt".into() } else { state(&thread) };
        let daemon = if thread.is_daemon() { "yes" } else { "no" };
        text.push_str(&format!(
            "{:<16} {:<width$} {daemon:<7} {state}\n",
            thread.id().ident(),
            &*thread.name()
        ));
    }
    text
}

fn state(thread: &Thread) -> String {
    if thread.is_waiting_for_gil() {
        return "waiting for the GIL".into();
    }
    match thread.state() {
        ThreadState::Initial => "not started".into(),
        ThreadState::Ready => "running".into(),
        ThreadState::Finished => "finished".into(),
        ThreadState::Blocked { reason, since, site } => {
            let mut text = format!("waiting for {reason}, since {}", seconds(since.elapsed()));
            if site.is_known() {
                text.push_str(&format!(", at {site}"));
            }
            text
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
