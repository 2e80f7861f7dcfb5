//! Runs every lesson under each lock and checks what its head declares; and that the page that lists them is up to
//! date.

mod harness;

use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use harness::expectations::Expectations;
use harness::lesson_table;
use libtest_mimic::{Arguments, Failed, Trial};

/// Most lessons sleep most of the time, so many can run at once; those that compare times run alone.
const AT_ONCE: usize = 12;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lessons");
    let processors = Arc::new(RwLock::new(()));
    let mut trials = Vec::new();
    for script in harness::scripts_below(&root) {
        let name =
            script.strip_prefix(&root).expect("below the root").with_extension("").display().to_string();
        for mode in ["ticks", "interval", "off"] {
            let (script, processors) = (script.clone(), Arc::clone(&processors));
            let trial = move || -> Result<(), Failed> {
                let source = std::fs::read_to_string(&script)?;
                let expectations = Expectations::read(&source);
                let limit = Duration::from_secs(90);
                let run = || harness::run::run(&script, mode, "grain", &expectations.args(), limit);
                let run = if expectations.compares_times() {
                    let _alone = processors.write();
                    run()
                } else {
                    let _shared = processors.read();
                    run()
                };
                Ok(expectations.check(&run, mode)?)
            };
            trials.push(Trial::test(format!("{name} [{mode}]"), trial));
        }
    }
    trials.push(Trial::test(lesson_table::PLACE, move || {
        let page = lesson_table::page(&root)?;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(lesson_table::PLACE);
        if std::env::var_os("LESSONS").is_some_and(|wish| wish == "write") {
            std::fs::write(&path, &page)?;
        }
        match std::fs::read_to_string(&path)? == page {
            true => Ok(()),
            false => {
                Err(format!("{} is out of date: it says how to write it anew", lesson_table::PLACE).into())
            }
        }
    }));
    libtest_mimic::run(&arguments, trials).exit();
}
