//! Tests that fork need a process of their own: a child of a process in which other tests run gets whatever locks
//! their threads held at that moment, and nobody there will ever release them.

use std::process::Command;

/// Set in the process of a single test.
const ALONE: &str = "ONELOCK_TEST_IN_OWN_PROCESS";

/// Does the calling test run in a process of its own? If not, it is run in one now, and has passed when this
/// returns.
pub fn is_own() -> bool {
    let thread = std::thread::current();
    // Without threads of its own the test harness runs tests on the main thread, one after the other.
    let Some(name) = thread.name().filter(|name| *name != "main") else { return true };
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let tests = std::env::current_exe().expect("the tests are a program");
    let run = Command::new(tests).args([name, "--exact", "--test-threads=1"]).env(ALONE, "1").output();
    let run = run.expect("the tests can be run again");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    false
}
