//! Output streams: whole lines, in the order in which threads print them.

use std::io::{self, Write};

use crate::runtime::sync::Mutex;

/// A stream that many threads write to. What one call writes stays together.
pub struct Output(Mutex<Box<dyn Write + Send>>);

impl Output {
    /// A stream on top of `writer`.
    pub fn new(writer: Box<dyn Write + Send>) -> Self {
        Self(Mutex::new(writer))
    }

    /// Writes `text` and flushes. Blocks while the reader at the other end does not read, without the
    /// interpreter lock.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, text: &str) -> io::Result<()> {
        if let Some(mut writer) = self.0.try_lock() {
            // Nearly always at once: giving the lock up for it would cost a hand-over per line.
            if !would_block() {
                writer.write_all(text.as_bytes())?;
                return writer.flush();
            }
        }
        crate::runtime::detached(|| {
            let mut writer = self.0.lock();
            writer.write_all(text.as_bytes())?;
            writer.flush()
        })
    }
}

/// Would a write to this process's standard output have to wait?
fn would_block() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::OUT)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
}
