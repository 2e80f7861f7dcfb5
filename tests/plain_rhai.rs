//! A script that uses nothing but Rhai prints here what it prints in a bare `rhai::Engine`.
//!
//! The scripts are Rhai's own examples, unchanged. Two files of its folder are no programs and are not among them:
//! `all_in_one.d.rhai` declares the standard library for editors, and `fuzzing_seed_corpus_all.rhai` is a corpus of
//! fragments that fails at one of its first statements on purpose.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use onelock::{Evaluator, Interpreter};

/// Lines that say how long something took.
const TIMES: &[&str] = &["Run time = ", "Total run time = ", "Time = "];

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Captured {
    /// What was printed, without times.
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap();
        let text = String::from_utf8(bytes.clone()).expect("scripts print UTF-8");
        let is_time = |line: &&str| TIMES.iter().any(|time| line.contains(time));
        text.lines().filter(|line| !is_time(line)).map(String::from).collect()
    }
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plain_rhai");
    let entries = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut scripts: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "rhai")).collect();
    scripts.sort();
    assert!(scripts.len() >= 28, "{} scripts found", scripts.len());
    scripts
}

fn in_rhai(script: &Path) -> Vec<String> {
    let captured = Captured::default();
    let mut engine = rhai::Engine::new();
    // What rhai's release builds allow; its debug builds stop at eight calls.
    engine.set_max_call_levels(64).set_max_expr_depths(64, 32);
    let folder = script.parent().expect("a folder");
    engine.set_module_resolver(rhai::module_resolvers::FileModuleResolver::new_with_path(folder));
    let mut out = captured.clone();
    // Rhai's `print` ends each text with a newline.
    let out = Mutex::new(move |text: &str| writeln!(out, "{text}").expect("memory takes everything"));
    engine.on_print(move |text| (out.lock().unwrap())(text));
    engine.run_file(script.to_path_buf()).unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    captured.lines()
}

fn in_onelock(script: &Path, evaluator: Evaluator) -> Vec<String> {
    let captured = Captured::default();
    let mut interpreter =
        Interpreter::builder().evaluator(evaluator).stdout(captured.clone()).build().expect("an interpreter");
    interpreter.run_file(script).unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    captured.lines()
}

#[test]
fn rhais_own_examples_print_the_same() {
    for script in scripts() {
        let wanted = in_rhai(&script);
        for evaluator in [Evaluator::Grain, Evaluator::Ast] {
            assert_eq!(in_onelock(&script, evaluator), wanted, "{} in {evaluator}", script.display());
        }
    }
}
