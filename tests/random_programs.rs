//! Small random programs over the methods of lists, dicts and texts and over the builtins, with arguments of any
//! type: each ends in a value or in an exception of a type that scripts know, the same under both evaluators, and
//! never in a panic or a hang.

use std::sync::LazyLock;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use onelock::language::value::repr;
use onelock::{Error, Evaluator, Interpreter};
use regex::Regex;

/// What stands for a receiver or an argument.
const VALUES: &[&str] = &[
    "0",
    "1",
    "-1",
    "3",
    "7",
    "10000000000",
    "9223372036854775807",
    "-9223372036854775807 - 1",
    "0.0",
    "-1.5",
    "1e308",
    "1.0 / 0.0",
    "0.0 / 0.0",
    "true",
    "()",
    "\"\"",
    "\"a\"",
    "\"abc def\"",
    "\"äöü😀\"",
    "\"%s %d\"",
    "\"{} {0}\"",
    "'x'",
    "[]",
    "[1, 2, 3]",
    "[[1, \"a\"], [2, \"b\"]]",
    "[()]",
    "#{}",
    "#{ a: 1 }",
    "#{ key: |x| x }",
    "list()",
    "list([1, 2, 3])",
    "list([\"b\", \"a\"])",
    "list([list([1]), dict()])",
    "dict()",
    "dict(#{ a: 1, b: [2] })",
    "range(3)",
    "range(5, 0, -2)",
    "0..3",
    "bytes(3)",
    "bytearray(2)",
    "blob(2, 65)",
    "|| 1",
    "|x| x",
    "|x, y| x > y",
    "|x| [x]",
    "Lock()",
    "ValueError(\"v\")",
    "ValueError",
    "len",
    "kwargs(#{ key: 1 })",
    "kwargs(#{})",
    "iter([1, 2])",
];

/// Methods of rhai's own that are not documented here, for plain arrays, maps and texts.
const RHAI_METHODS: &[&str] = &[
    "push",
    "append",
    "insert",
    "concat",
    "pad",
    "pop",
    "shift",
    "remove",
    "clear",
    "truncate",
    "chop",
    "split",
    "reverse",
    "dedup",
    "extract",
    "splice",
    "retain",
    "drain",
    "sort",
    "order",
    "zip",
    "map",
    "filter",
    "reduce",
    "find",
    "all",
    "some",
    "index_of",
    "contains",
    "keys",
    "values",
    "mixin",
    "fill_with",
    "get",
    "set",
    "len",
    "sub_string",
    "crop",
    "replace",
    "trim",
    "chars",
    "bytes",
    "bits",
    "get_bit",
    "set_bit",
    "to_upper",
    "split_rev",
    "starts_with",
    "ends_with",
    "to_string",
    "to_debug",
    "is_empty",
    "type_of",
    "abs",
    "sign",
    "to_int",
    "to_float",
];

/// They end or stop the program, wait, or have to do with the world outside.
const LEFT_OUT: &[&str] = &["exit", "quit", "input", "open", "sleep", "print", "help", "breakpoint"];

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

struct Names {
    methods: Vec<&'static str>,
    functions: Vec<&'static str>,
}

impl Names {
    fn known() -> Self {
        let name = |signature: &'static str| signature.split('(').next().unwrap_or(signature);
        let (mut methods, mut functions) = (RHAI_METHODS.to_vec(), Vec::new());
        for entry in onelock::language::native::entries() {
            match entry.owner {
                "list" | "dict" | "str" | "bytes" | "bytearray" => methods.push(name(entry.signature)),
                "builtins" if entry.signature.contains('(') && !LEFT_OUT.contains(&name(entry.signature)) => {
                    functions.push(name(entry.signature));
                }
                _ => {}
            }
        }
        assert!(methods.len() > 100 && functions.len() > 40, "{} {}", methods.len(), functions.len());
        Self { methods, functions }
    }

    fn expression(&self, chance: &mut Chance) -> String {
        let arguments: Vec<&str> = (0..chance.below(4)).map(|_| chance.of(VALUES)).collect();
        let arguments = arguments.join(", ");
        match chance.below(10) {
            0..=5 => format!("x.{}({arguments})", chance.of(&self.methods)),
            6 | 7 => format!("{}({arguments})", chance.of(&self.functions)),
            8 => format!(
                "x {} ({})",
                chance.of(&["+", "-", "*", "/", "%", "==", "<", ">=", "in", "**", "<<"]),
                chance.of(VALUES)
            ),
            _ => format!("x[{}]", chance.of(VALUES)),
        }
    }

    /// The program that a seed stands for.
    fn program(&self, seed: u64) -> String {
        let mut chance = Chance(seed);
        let receiver = chance.of(VALUES);
        let first = self.expression(&mut chance);
        let second = self.expression(&mut chance);
        format!(
            "let x = {receiver}; try {{ {first}; }} catch (e) {{ }} let y = {second}; [repr(x), repr(y), str(y), x == y];"
        )
    }
}

/// A block of a program about ways out of `with`: what happens in it goes to `log`, and `return`, errors, `break` and
/// `continue` leave it from any depth.
fn block(chance: &mut Chance, depth: usize, in_loop: bool) -> String {
    (0..=chance.below(3)).map(|_| statement(chance, depth, in_loop)).collect()
}

fn statement(chance: &mut Chance, depth: usize, in_loop: bool) -> String {
    let inner = |chance: &mut Chance, in_loop| block(chance, depth - 1, in_loop);
    let manager = chance.of(&["r", "c", "s", "locks[0]"]);
    match chance.below(if depth == 0 { 4 } else { 10 }) {
        0 | 1 => format!("log.append({});", chance.below(100)),
        2 => match chance.below(4) {
            0 if in_loop => "break;".into(),
            1 if in_loop => "continue;".into(),
            2 => format!("return {};", chance.below(100)),
            _ => "throw ValueError(\"v\");".into(),
        },
        3 => format!("{manager}.release();"),
        4..=6 => format!("with {manager} {{ {} }}", inner(chance, in_loop)),
        7 => format!("for i in range(2) {{ {} }}", inner(chance, true)),
        8 => format!("if len(log) % 2 == 0 {{ {} }}", inner(chance, in_loop)),
        _ => format!("try {{ {} }} catch {{ log.append(len(log)); }}", inner(chance, in_loop)),
    }
}

/// A program whose function enters locks and leaves them in many ways; how often each is held at the end shows.
fn program_of_locks(seed: u64) -> String {
    let body = block(&mut Chance(seed), 4, false);
    format!(
        "fn f(log, r, c, s, locks) {{ {body} }}
        let log = list(); let r = RLock(); let k = RLock(); let c = Condition(k); let s = BoundedSemaphore(50);
        let raised = ();
        try {{ log.append(f(log, r, c, s, [r])); }} catch (e) {{ raised = repr(e); }}
        let free = 0; while s.acquire(false) {{ free += 1; }}
        let end = [str(log), raised, repr(r), repr(k), free]; end"
    )
}

/// Every program's seed: the last one's, mixed (Steele, Lea, Flood: SplitMix64).
fn next_seed(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).max(1)
}

/// What a program came to.
#[derive(Debug, PartialEq)]
enum Outcome {
    Value(String),
    /// The class: rhai words some errors differently in its two evaluators.
    Exception(&'static str),
}

fn build(evaluator: Evaluator) -> Interpreter {
    let builder = Interpreter::builder().evaluator(evaluator).stdout(std::io::sink()).stderr(std::io::sink());
    builder.build().expect("an interpreter")
}

/// Runs a program; a panic or another sign of a defect is a message.
fn outcome(interpreter: &mut Interpreter, program: &str) -> Result<Outcome, String> {
    match interpreter.eval_dynamic(program) {
        Ok(value) => Ok(Outcome::Value(without_addresses(&repr(&value)))),
        Err(Error::Exception(exception)) => {
            let text = exception.message();
            let says = |what: &str| text.contains(what);
            if says("internal error") || says("::language::") || says("::modules::") {
                return Err(text.to_string());
            }
            Ok(Outcome::Exception(exception.class().name))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Addresses and the names of closures differ from one interpreter to the next, and so do the numbers that `id`
/// and `hash` make of them.
fn without_addresses(text: &str) -> String {
    static ADDRESSES: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("0x[0-9a-f]{6,}|anon\\$[0-9a-f]+|-?[0-9]{12,}").expect("a pattern"));
    ADDRESSES.replace_all(text, "N").into_owned()
}

/// One program after the other, each under both evaluators. `tell` hears of each before it runs, and of what is
/// wrong with it afterwards.
fn run(first_seed: u64, count: usize, make: impl Fn(u64) -> String, tell: &Sender<Event>) -> usize {
    let mut interpreters = [build(Evaluator::Grain), build(Evaluator::Ast)];
    let (mut seed, mut values) = (first_seed, 0);
    for round in 0..count {
        if round % 100 == 99 {
            // Inputs add to what a session remembers.
            interpreters = [build(Evaluator::Grain), build(Evaluator::Ast)];
        }
        let program = make(seed);
        let _ = tell.send(Event::Begins(seed, program.clone()));
        let [grain, ast] = interpreters.each_mut().map(|interpreter| outcome(interpreter, &program));
        values += usize::from(matches!(grain, Ok(Outcome::Value(_))));
        if grain != ast || grain.is_err() {
            let _ = tell.send(Event::Wrong(format!("  bytecode machine: {grain:?}\n  tree walker: {ast:?}")));
        }
        seed = next_seed(seed);
    }
    values
}

enum Event {
    Begins(u64, String),
    Wrong(String),
}

/// No program here computes for long: one that is not over by then hangs.
const LONGEST: Duration = Duration::from_secs(60);

/// `RANDOM_PROGRAMS=SEED,COUNT` runs others than the usual ones: a seed that a failure named, or a million more.
fn seed_and_count() -> (u64, usize) {
    let Ok(text) = std::env::var("RANDOM_PROGRAMS") else { return (0x9e37_79b9_7f4a_7c15, 1000) };
    let (seed, count) = text.split_once(',').unwrap_or((&text, "1"));
    (seed.trim().parse().expect("a seed"), count.trim().parse().expect("a count"))
}

#[test]
fn both_evaluators_give_every_program_the_same_value_or_exception() {
    // An interpreter brings the names.
    drop(build(Evaluator::Grain));
    let names = Names::known();
    let (values, count) = compare(move |seed| names.program(seed));
    // Most calls fail, but not all: it is the methods that are tested.
    assert!(values * 20 >= count || count < 100, "{values} of {count} had a value");
}

#[test]
fn both_evaluators_leave_every_lock_alike() {
    let (values, count) = compare(program_of_locks);
    assert_eq!(values, count, "they catch what they raise");
}

/// Runs random programs; how many had a value, of how many.
fn compare(make: impl Fn(u64) -> String + Send + 'static) -> (usize, usize) {
    let (first_seed, count) = seed_and_count();
    let (tell, told) = channel();
    let running = std::thread::spawn(move || run(first_seed, count, make, &tell));
    let mut wrong = Vec::new();
    let mut current = String::from("no program yet");
    loop {
        match told.recv_timeout(LONGEST) {
            Ok(Event::Begins(seed, program)) => current = format!("seed {seed}: {program}"),
            Ok(Event::Wrong(how)) => wrong.push(format!("{current}\n{how}")),
            Err(RecvTimeoutError::Timeout) => panic!("this hangs: {current}"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let values = running.join().unwrap_or_else(|_| panic!("this panicked: {current}"));
    assert!(wrong.is_empty(), "{} of {count} programs:\n{}", wrong.len(), wrong.join("\n"));
    (values, count)
}
