//! The parts that every script pays for, through the embedding API: a tick, a switch of the GIL, a lock,
//! a queue, a thread. Each function is one part, each row one GIL mode; the counter turns the time of a
//! run into events a second.
//!
//! ```text
//! cargo bench --bench micro
//! cargo bench --bench micro -- queue
//! ```

use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use onelock::{GilMode, Interpreter};
use rhai::grain::{Compiler, Vm};
use rhai::{Engine, Scope};

fn main() {
    divan::main();
}

const MODES: [&str; 3] = ["ticks", "interval", "off"];

fn gil(mode: &str) -> GilMode {
    match mode {
        "ticks" => GilMode::Ticks(100),
        "interval" => GilMode::Interval(Duration::from_millis(5)),
        _ => GilMode::Off,
    }
}

/// Times runs of `source`, in which `events` of what is measured happen.
fn script(bencher: Bencher, mode: &str, events: u64, source: &str) {
    let source = source.replace("EVENTS", &events.to_string());
    let mut interp = Interpreter::builder().gil(gil(mode)).build().expect("an interpreter");
    bencher
        .counter(ItemsCount::new(events))
        .bench_local(|| interp.run_source("bench.rhai", &source).expect("the script runs"));
}

/// Starting from nothing: what an embedder and every `spawn`ed child pays once.
#[divan::bench]
fn interpreter(bencher: Bencher) {
    bencher.bench_local(|| Interpreter::builder().gil(GilMode::Off).build().expect("an interpreter"));
}

/// A loop with as little in it as the optimiser leaves standing: the evaluator's step and its safepoints.
#[divan::bench(args = MODES)]
fn tick(bencher: Bencher, mode: &str) {
    script(bencher, mode, 100_000, "let x = 0; for i in 0..EVENTS { x += i; }");
}

/// The same beside rhai's own engine, which has no safepoints, and with more in the loop: what safepoints cost.
#[divan::bench(args = ["rhai", "off", "interval", "ticks"])]
fn one_thread(bencher: Bencher, mode: &str) {
    const SOURCE: &str = "
        fn fib(n) { if n < 2 { n } else { fib(n - 1) + fib(n - 2) } }
        let sum = 0;
        for i in 0..20000 { if i % 3 == 0 { sum += i; } else { sum -= 1; } }
        sum += fib(15);";
    if mode != "rhai" {
        return script(bencher, mode, 1, SOURCE);
    }
    let engine = Engine::new();
    bencher.counter(ItemsCount::new(1u64)).bench_local(|| {
        let program = Compiler::new().compile(&engine.compile(SOURCE).expect("rhai")).into_shared();
        Vm::new(&engine).eval_with_callbacks(&mut Scope::new(), &program).expect("the script runs")
    });
}

/// A native method that does nothing much: what of the rows below is only the call.
#[divan::bench(args = MODES)]
fn native_call(bencher: Bencher, mode: &str) {
    script(bencher, mode, 20_000, "let lock = Lock(); for i in 0..EVENTS { lock.locked(); }");
}

/// Two threads that give the GIL up with `sleep(0)`, one event each time; who gets it next is up to the mode.
/// `queue_between_threads` is the switch that has to happen.
#[divan::bench(args = MODES)]
fn gil_switch(bencher: Bencher, mode: &str) {
    const SOURCE: &str = "
        fn yielder(n) { for i in 0..n { time::sleep(0); } }
        let threads = [Thread(#{ target: yielder, args: [EVENTS / 2] }), Thread(#{ target: yielder, args: [EVENTS / 2] })];
        for t in threads { t.start(); }
        for t in threads { t.join(); }";
    script(bencher, mode, 5_000, SOURCE);
}

#[divan::bench(args = MODES)]
fn lock_acquire_release(bencher: Bencher, mode: &str) {
    const SOURCE: &str = "let lock = Lock(); for i in 0..EVENTS { lock.acquire(); lock.release(); }";
    script(bencher, mode, 20_000, SOURCE);
}

#[divan::bench(args = MODES)]
fn queue_put_get(bencher: Bencher, mode: &str) {
    script(bencher, mode, 20_000, "let q = queue::Queue(); for i in 0..EVENTS { q.put(i); q.get(); }");
}

/// The same with a thread at either end, so that the getter has to be woken.
#[divan::bench(args = MODES)]
fn queue_between_threads(bencher: Bencher, mode: &str) {
    const SOURCE: &str = "
        fn put_all(q, n) { for i in 0..n { q.put(i); } }
        let q = queue::Queue();
        let t = Thread(#{ target: put_all, args: [q, EVENTS] });
        t.start();
        for i in 0..EVENTS { q.get(); }
        t.join();";
    script(bencher, mode, 10_000, SOURCE);
}

#[divan::bench(args = MODES)]
fn thread_start_join(bencher: Bencher, mode: &str) {
    const SOURCE: &str = "
        fn nothing() {}
        for i in 0..EVENTS { let t = Thread(#{ target: nothing }); t.start(); t.join(); }";
    script(bencher, mode, 500, SOURCE);
}

/// What a message costs in each direction: a value as bytes, and the bytes as a value.
mod codec {
    use divan::Bencher;
    use onelock::ipc::codec::{Purpose, decode, encode};
    use rhai::{Dynamic, Map};

    const VALUES: [&str; 5] = ["int", "text of 20", "blob of 1 KiB", "blob of 1 MiB", "nested"];

    fn value(name: &str) -> Dynamic {
        match name {
            "int" => 123_456_i64.into(),
            "text of 20" => "x".repeat(20).into(),
            "blob of 1 KiB" => Dynamic::from_blob(vec![7; 1 << 10]),
            "blob of 1 MiB" => Dynamic::from_blob(vec![7; 1 << 20]),
            _ => {
                let row = |i: i64| -> Dynamic {
                    let row: Map = [("id".into(), i.into()), ("name".into(), "row".into())].into();
                    row.into()
                };
                (0..10).map(row).collect::<Vec<_>>().into()
            }
        }
    }

    #[divan::bench(args = VALUES)]
    fn write(bencher: Bencher, name: &str) {
        let value = value(name);
        bencher.bench_local(|| encode(&value, Purpose::Message).expect("it travels").sent());
    }

    #[divan::bench(args = VALUES)]
    fn read(bencher: Bencher, name: &str) {
        let bytes = encode(&value(name), Purpose::Message).expect("it travels").sent();
        bencher.bench_local(|| decode(&bytes, Vec::new()).expect("it arrives"));
    }
}
