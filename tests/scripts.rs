//! Runs `tests/scripts/**.rhai`, scripts that assert for themselves, under every lock and both evaluators.

mod harness;

use std::path::Path;
use std::time::Duration;

use harness::expectations::Expectations;
use libtest_mimic::{Arguments, Failed, Trial};

/// Small check intervals force a switch at every tick, or at every seventh.
const MODES: &[&str] = &["ticks:1", "ticks:70", "ticks", "interval:0.2ms", "interval", "off"];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut trials = Vec::new();
    for script in harness::scripts_below(&root) {
        let name =
            script.strip_prefix(&root).expect("below the root").with_extension("").display().to_string();
        for mode in MODES {
            for engine in ["grain", "ast"] {
                let script = script.clone();
                let trial = move || -> Result<(), Failed> {
                    let source = std::fs::read_to_string(&script)?;
                    let expectations = Expectations::read(&source);
                    let run = harness::run::run(
                        &script,
                        mode,
                        engine,
                        &expectations.args(),
                        Duration::from_secs(60),
                    );
                    let family = mode.split(':').next().unwrap_or(mode);
                    Ok(expectations.check(&run, family)?)
                };
                trials.push(Trial::test(format!("{name} [{mode} {engine}]"), trial));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
