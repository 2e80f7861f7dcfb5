//! `progress: true` shows a bar on a terminal, and nothing anywhere else.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

const SCRIPT: &str = "let pool = ThreadPool(2); \
                      print(pool.map(|x| { sleep(0.01); x }, range(20), #{ progress: true }).len());";

fn onelock() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onelock"));
    command.args(["-e", SCRIPT]).env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// A terminal: our side, and the program's.
fn terminal() -> (File, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).expect("it is ours");
    unlockpt(&ours).expect("it is ours");
    let name = ptsname(&ours, Vec::new()).expect("it has a name");
    let theirs = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("it can be opened");
    (File::from(ours), theirs)
}

#[test]
fn a_terminal_shows_a_bar() {
    let (mut ours, theirs) = terminal();
    let child = onelock().stderr(Stdio::from(theirs)).spawn().expect("the program starts");
    let mut shown = Vec::new();
    let mut piece = [0; 4096];
    // The last one to close the other side ends the reading with an error.
    while let Ok(n @ 1..) = ours.read(&mut piece) {
        shown.extend_from_slice(&piece[..n]);
    }
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "20\n");
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("  0% |"), "{shown}");
    assert!(shown.contains("100% |") && shown.contains("20/20 ["), "{shown}");
}

#[test]
fn a_pipe_shows_nothing() {
    let output = onelock().stderr(Stdio::piped()).output().expect("the program starts");
    assert_eq!((&*output.stdout, &*output.stderr), (&b"20\n"[..], &b""[..]));
}
