//! The `onelock` command.

fn main() {
    let path = std::env::args().nth(1).expect("a script");
    let gil = std::env::var("ONELOCK_GIL").ok().map(|m| m.parse().unwrap()).unwrap_or_default();
    let ev = std::env::var("ENGINE").ok().map(|m| m.parse().unwrap()).unwrap_or_default();
    let mut interpreter =
        onelock::Interpreter::builder().gil(gil).evaluator(ev).print_tracebacks(true).build().unwrap();
    if let Err(error) = interpreter.run_file(&path) {
        if !matches!(error, onelock::Error::Exception(_)) {
            eprintln!("{error}");
        }
        std::process::exit(error.exit_status());
    }
}
