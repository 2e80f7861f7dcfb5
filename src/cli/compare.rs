//! `onelock compare SCRIPT`: the same script under each mode of the lock, side by side.

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use onelock::observe::{Comparison, Subject};

use super::run::Program;
use super::{Options, complain, print};

/// Run a script under each GIL mode and show the figures side by side
#[derive(Args)]
pub(super) struct Compare {
    /// Run each mode so many times and show the medians
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The script and its arguments
    #[arg(value_name = "SCRIPT", required = true, trailing_var_arg = true)]
    script: Vec<OsString>,
}

impl Compare {
    pub(super) fn run(&self, options: &Options) -> i32 {
        // A script that is not there is one error, not three.
        if let Some(Err(message)) =
            self.script.first().map(|script| Program::in_file(script.as_ref(), vec![]))
        {
            return complain(&message);
        }
        let measured = std::env::current_exe().and_then(|program| {
            let options = passed_on(options);
            let subject = Subject { program: &program, options: &options, script: &self.script };
            Comparison::measure(&subject, self.rounds as usize)
        });
        match measured {
            Ok(comparison) => {
                print(&comparison.to_string());
                comparison.exit_status()
            }
            Err(error) => complain(&format!("cannot run this program again to compare: {error}")),
        }
    }
}

/// The options that each run is given beside its mode.
fn passed_on(options: &Options) -> Vec<OsString> {
    let policy = options.on_deadlock.to_possible_value();
    let policy = policy.map_or_else(String::new, |value| value.get_name().to_string());
    ["--engine", &options.engine.to_string(), "--on-deadlock", &policy].map(OsString::from).into()
}
