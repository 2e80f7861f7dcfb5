//! The terminal, on which the prompt and the session's threads write at the same time.
//!
//! The line editor tells what it shows. A thread that prints while the prompt waits takes the prompt and the
//! unfinished line away, writes, and puts both back below, the cursor where it was, in one write.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onelock::language::exception::blanks_under;

/// What the line editor shows.
#[derive(Clone, Debug, Default)]
struct Shown {
    prompt: String,
    line: String,
    /// The cursor's place in the line, in bytes.
    cursor: usize,
}

#[derive(Default)]
struct State {
    /// Nothing while a statement is evaluated.
    shown: Option<Shown>,
    /// The last thing written did not end its line.
    mid_line: bool,
}

/// Standard output as the prompt and the threads share it. Clones are the same.
#[derive(Clone, Default)]
pub struct Screen(Arc<Mutex<State>>);

impl Screen {
    /// Where the session's standard error goes: here too, unless it was redirected.
    pub fn for_stderr(&self) -> Box<dyn Write + Send> {
        if io::stderr().is_terminal() { Box::new(self.clone()) } else { Box::new(io::stderr()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The prompt is about to appear. True if something was printed without a newline, which it must not take
    /// away.
    pub fn begin_prompt(&self) -> bool {
        std::mem::take(&mut self.state().mid_line)
    }

    /// The prompt shows `prompt` before the line.
    pub fn show_prompt(&self, prompt: &str) {
        self.state().shown.get_or_insert_default().prompt = prompt.into();
    }

    /// The prompt shows `line`, with the cursor at byte `cursor`.
    pub fn show_line(&self, line: &str, cursor: usize) {
        if let Some(shown) = &mut self.state().shown {
            shown.line = line.into();
            shown.cursor = cursor;
        }
    }

    /// The line is read: what is printed from now on goes out as it is.
    pub fn end_prompt(&self) {
        self.state().shown = None;
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        match &state.shown {
            Some(shown) => {
                let text = String::from_utf8_lossy(bytes);
                unbuffered(above(shown, &text, columns()).as_bytes())?;
            }
            None => {
                unbuffered(bytes)?;
                state.mid_line = bytes.last().is_some_and(|last| *last != b'\n');
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to the terminal in one go.
fn unbuffered(bytes: &[u8]) -> io::Result<()> {
    io::stdout().flush()?;
    File::from(io::stdout().as_fd().try_clone_to_owned()?).write_all(bytes)
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.map_or(80, |size| usize::from(size.ws_col)).max(1)
}

/// What writes `text` above the prompt.
fn above(shown: &Shown, text: &str, columns: usize) -> String {
    let Shown { prompt, line, cursor } = shown;
    let before = line.get(..*cursor).unwrap_or(line);
    let (row, column) = place(&[prompt, before], columns);
    let (last_row, last_column) = place(&[prompt, line], columns);
    let mut out = String::from("\r");
    if row > 0 {
        out.push_str(&format!("\x1b[{row}A"));
    }
    out.push_str("\x1b[J");
    out.push_str(text);
    if !text.ends_with('\n') {
        out.push('\n');
    }
    out.push_str(prompt);
    out.push_str(line);
    if last_column == 0 && last_row > 0 && !line.ends_with('\n') {
        // A full line leaves the cursor at its end, not at the beginning of the next one.
        out.push('\n');
    }
    if last_row > row {
        out.push_str(&format!("\x1b[{}A", last_row - row));
    }
    out.push('\r');
    if column > 0 {
        out.push_str(&format!("\x1b[{column}C"));
    }
    out
}

/// The row and column after these texts on a terminal that is `columns` wide.
fn place(texts: &[&str], columns: usize) -> (usize, usize) {
    let (mut row, mut column) = (0, 0);
    for c in texts.iter().flat_map(|text| text.chars()) {
        if c == '\n' {
            (row, column) = (row + 1, 0);
            continue;
        }
        let width = blanks_under(c.encode_utf8(&mut [0; 4]), 1).len();
        column += width;
        if column > columns {
            (row, column) = (row + 1, width);
        }
    }
    if column == columns { (row + 1, 0) } else { (row, column) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_wrap_and_wide_characters_take_two_columns() {
        assert_eq!(place(&[">>> ", "abc"], 80), (0, 7));
        assert_eq!(place(&[">>> ", "abcdefgh"], 10), (1, 2));
        assert_eq!(place(&[">>> ", "abcdef"], 10), (1, 0));
        assert_eq!(place(&[">>> ", "a\nb"], 80), (1, 1));
        assert_eq!(place(&["线程"], 80), (0, 4));
        assert_eq!(place(&["a线程"], 4), (1, 2));
    }

    #[test]
    fn text_goes_above_the_prompt_and_the_cursor_stays() {
        let shown = Shown { prompt: ">>> ".into(), line: "abc".into(), cursor: 1 };
        assert_eq!(above(&shown, "tick\n", 80), "\r\x1b[Jtick\n>>> abc\r\x1b[5C");
        assert_eq!(above(&shown, "tick", 80), "\r\x1b[Jtick\n>>> abc\r\x1b[5C");
        let wrapped = Shown { prompt: ">>> ".into(), line: "abcdefgh".into(), cursor: 0 };
        assert_eq!(above(&wrapped, "x\n", 10), "\r\x1b[Jx\n>>> abcdefgh\x1b[1A\r\x1b[4C");
    }
}
