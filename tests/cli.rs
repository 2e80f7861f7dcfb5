//! The command line, as a shell sees it: output, errors, exit status.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn onelock() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onelock"));
    command.env_remove("ONELOCK_GIL").env_remove("ONELOCK_ENGINE").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    onelock().args(args).output().expect("the program starts")
}

fn fed(args: &[&str], input: &str) -> Output {
    let mut command = onelock();
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("the program reads");
    child.wait_with_output().expect("the program ends")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn status(output: &Output) -> Option<i32> {
    output.status.code()
}

/// A folder of its own for a test, with a file in it.
fn script(test: &str, name: &str, text: &[u8]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cli").join(test);
    fs::create_dir_all(&folder).expect("a folder for scripts");
    let path = folder.join(name);
    fs::write(&path, text).expect("a script");
    path
}

#[test]
fn a_script_is_run_and_its_arguments_are_its_own() {
    let path = script("arguments", "show.rhai", b"print(sys::argv); print(__name__);");
    let path = path.to_str().unwrap();
    let output = run(&[path, "--gil", "off", "-e", "compare"]);
    assert_eq!(stderr(&output), "");
    assert_eq!(stdout(&output), format!("['{path}', '--gil', 'off', '-e', 'compare']\n__main__\n"));
    assert_eq!(status(&output), Some(0));
}

#[test]
fn a_script_may_have_the_name_of_a_subcommand() {
    let path = script("names", "compare", b"print(\"a script\");");
    let output = onelock().current_dir(path.parent().unwrap()).arg("./compare").output().unwrap();
    assert_eq!(stdout(&output), "a script\n");
}

#[test]
fn code_on_the_command_line_prints_only_what_it_prints() {
    let output = run(&["-e", "print(sys::argv); 42", "a", "b"]);
    assert_eq!(stdout(&output), "['-e', 'a', 'b']\n");
    assert_eq!(stderr(&output), "");
    assert_eq!(stdout(&run(&["-e", "-1; print(2)"])), "2\n");
}

#[test]
fn standard_input_is_a_script() {
    let text = "print(sys::argv);\nthrow ValueError(\"bad\");\n";
    let output = fed(&["-", "x"], text);
    assert_eq!(stdout(&output), "['-', 'x']\n");
    assert!(stderr(&output).contains("File \"<stdin>\", line 2"), "{}", stderr(&output));
    let output = fed(&[], text);
    assert_eq!(stdout(&output), "['']\n");
    assert_eq!(status(&output), Some(1));
}

#[test]
fn an_uncaught_exception_is_printed_once_and_the_status_is_1() {
    let output = run(&["-e", "fn f() { throw ValueError(\"bad\"); }\nf();"]);
    let said = stderr(&output);
    assert_eq!(status(&output), Some(1));
    assert!(said.starts_with("Traceback (most recent call last):\n"), "{said}");
    assert_eq!(said.matches("ValueError: bad").count(), 1, "{said}");
    assert!(said.contains("line 1, in f"), "{said}");
}

#[test]
fn a_syntax_error_points_at_the_place_and_the_status_is_2() {
    let output = run(&["-e", "let x = ;"]);
    assert_eq!(status(&output), Some(2));
    let said = stderr(&output);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "  File \"<string>\", line 1");
    assert_eq!(lines[1], "    let x = ;");
    assert_eq!(lines[2], "            ^");
    assert!(lines[3].starts_with("SyntaxError: "), "{said}");
}

#[test]
fn exit_sets_the_status() {
    for (code, expected, said) in [
        ("exit()", 0, ""),
        ("exit(0)", 0, ""),
        ("exit(3)", 3, ""),
        ("exit(256 + 7)", 7, ""),
        ("sys::exit(4)", 4, ""),
        ("exit(\"that was all\")", 1, "that was all\n"),
        ("throw SystemExit(5)", 5, ""),
    ] {
        let output = run(&["-e", code]);
        assert_eq!(status(&output), Some(expected), "{code}");
        assert_eq!(stderr(&output), said, "{code}");
    }
}

#[test]
fn scripts_that_cannot_be_read_are_named() {
    let path = script("unreadable", "lesson.rhai", b"");
    let folder = path.parent().unwrap();
    let in_folder = |name: &str| onelock().current_dir(folder).arg(name).output().unwrap();
    for (name, said) in [
        ("lessno.rhai", "no script 'lessno.rhai': did you mean 'lesson.rhai'?"),
        ("lesson", "no script 'lesson': did you mean 'lesson.rhai'?"),
        ("quite_another", "no script 'quite_another' in this folder"),
        ("nowhere/a.rhai", "no script 'nowhere/a.rhai': there is no folder 'nowhere'"),
        (".", "cannot read .: Is a directory"),
    ] {
        let output = in_folder(name);
        assert_eq!(status(&output), Some(2), "{name}");
        assert!(stderr(&output).contains(said), "{name}: {}", stderr(&output));
    }
    script("unreadable", "latin.rhai", b"let a = 1;\nprint(\"\xe9\");\n");
    let output = in_folder("latin.rhai");
    assert_eq!(status(&output), Some(2));
    assert!(stderr(&output).contains("line 2 is no UTF-8"), "{}", stderr(&output));
    let mut command = onelock();
    let mut child = command.arg("-").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\xff").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(status(&output), Some(2));
    assert!(stderr(&output).contains("no UTF-8"), "{}", stderr(&output));
}

#[test]
fn usage_errors_say_the_way_out() {
    for (args, said) in [
        (&["--gil", "on", "-e", "1"][..], "'on' is no GIL mode: use ticks[:N], interval[:MS] or off"),
        (&["--engine", "jit", "-e", "1"], "'jit' is no evaluator: use grain or ast"),
        (&["--on-deadlock", "pray", "-e", "1"], "possible values: exit, wait"),
        (&["--what", "-e", "1"], "unexpected argument '--what'"),
        (&["compare"], "required"),
        (&["compare", "--rounds", "0", "x"], "0 is not in"),
    ] {
        let output = run(args);
        assert_eq!(status(&output), Some(2), "{args:?}");
        assert!(stderr(&output).contains(said), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn the_mode_comes_from_the_option_or_the_environment() {
    let mode = |args: &[&str], variable: Option<&str>| {
        let mut command = onelock();
        if let Some(value) = variable {
            command.env("ONELOCK_GIL", value);
        }
        let output = command.args(args).args(["-e", "print(gil::mode())"]).output().unwrap();
        stdout(&output).trim().to_string()
    };
    assert_eq!(mode(&[], None), "interval:5ms");
    assert_eq!(mode(&["--gil", "ticks"], None), "ticks:100");
    assert_eq!(mode(&["--gil", "interval:0.5ms"], None), "interval:0.5ms");
    assert_eq!(mode(&[], Some("ticks:7")), "ticks:7");
    assert_eq!(mode(&["--gil", "off"], Some("ticks:7")), "off");
}

#[test]
fn both_engines_run_scripts() {
    for engine in ["grain", "ast"] {
        let output = run(&["--engine", engine, "-e", "let n = 0; for i in 0..10 { n += i; } print(n);"]);
        assert_eq!(stdout(&output), "45\n", "{engine}: {}", stderr(&output));
    }
}

#[test]
fn stats_go_to_stderr_after_the_run_also_of_one_that_fails() {
    let code = "fn task() { let n = 0; while n < 1000 { n += 1; } }\n\
                let t = Thread(task); t.start(); t.join(); print(\"done\"); throw ValueError(\"bad\");";
    let output = run(&["--gil", "ticks:50", "--stats", "-e", code]);
    assert_eq!(stdout(&output), "done\n");
    assert_eq!(status(&output), Some(1));
    let said = stderr(&output);
    let table = &said[said.find("ValueError: bad").expect("the exception comes first")..];
    for part in
        ["GIL ticks:50: ", "switches", "held ms", "waited ms", "blocked ms", "MainThread", "Thread-1 (task)"]
    {
        assert!(table.contains(part), "{part} in\n{said}");
    }
}

#[test]
fn stats_count_the_ticks_of_threads_that_nobody_interrupted() {
    let code = "fn task() { let n = 0; while n < 1000 { n += 1; } }\n\
                let t = Thread(task); t.start(); t.join();";
    for mode in ["interval", "off"] {
        let said = stderr(&run(&["--gil", mode, "--stats", "-e", code]));
        let row = said.lines().find(|line| line.starts_with("Thread-1 (task)")).unwrap_or_default();
        let ticks = row.trim_start_matches("Thread-1 (task)").trim_start();
        assert!(ticks.starts_with(|c: char| ('1'..='9').contains(&c)), "{mode}:\n{said}");
    }
}

#[test]
fn a_deadlock_is_reported_once() {
    let output = run(&["-e", "let a = Lock();\na.acquire();\na.acquire();"]);
    assert_eq!(status(&output), Some(1));
    let said = stderr(&output);
    assert_eq!(said.matches("deadlock").count(), 1, "{said}");
    assert!(said.contains("Lock `a`"), "{said}");
}

#[test]
fn the_main_thread_recurses_as_deeply_as_it_may() {
    let deep = "fn down(n) { if n == 0 { 0 } else { 1 + down(n - 1) } } print(down(900));";
    for engine in ["grain", "ast"] {
        let output = run(&["--engine", engine, "-e", deep]);
        assert_eq!(stdout(&output), "900\n", "{engine}: {}", stderr(&output));
        let output = run(&["--engine", engine, "-e", "fn down(n) { 1 + down(n + 1) } down(0);"]);
        assert_eq!(status(&output), Some(1), "{engine}");
        assert!(stderr(&output).contains("RecursionError"), "{engine}: {}", stderr(&output));
    }
}

/// Starts a script that prints `ready`, sends Ctrl-C then, and returns how it ended.
fn interrupted(args: &[&str]) -> Output {
    let mut command = onelock();
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("the script prints");
    assert_eq!(line, "ready\n");
    // SAFETY: a signal to a child that was not waited for, so the number is still its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    let mut rest = Vec::new();
    lines.read_to_end(&mut rest).expect("the script ends");
    let mut output = child.wait_with_output().expect("the script ends");
    output.stdout = rest;
    output
}

#[test]
fn ctrl_c_reaches_the_main_thread_wherever_it_is() {
    for code in [
        "print(\"ready\"); while true {}",
        "let e = Event(); print(\"ready\"); e.wait(100);",
        "let q = queue::Queue(); print(\"ready\"); q.get(true, 100);",
        "fn busy() { while true {} }\nThread(busy).start(); print(\"ready\");",
        "let s = socket::create_server([\"127.0.0.1\", 0]); print(\"ready\"); s.accept();",
        "let p = socket::socketpair(); p[0].settimeout(100); print(\"ready\"); p[0].recv(1);",
        "let p = subprocess::Popen([\"sleep\", \"100\"]); print(\"ready\"); try { p.wait(); } finally { p.kill(); }",
        "print(\"ready\"); subprocess::run([\"sleep\", \"100\"], #{ capture_output: true });",
        "print(\"ready\"); signal::pause();",
        "let p = \"/tmp/onelock-cli-\" + os::getpid(); os::system(\"mkfifo \" + p); print(\"ready\"); try { open(p); } finally { os::remove(p); }",
        "let p = \"/tmp/onelock-cli-\" + os::getpid(); os::system(\"mkfifo \" + p); print(\"ready\"); try { open(p, \"w\"); } finally { os::remove(p); }",
    ] {
        for mode in ["ticks", "interval", "off"] {
            let output = interrupted(&["--gil", mode, "-e", code]);
            assert_eq!(status(&output), Some(130), "{mode}: {code}: {}", stderr(&output));
            assert_eq!(
                stderr(&output).matches("KeyboardInterrupt").count(),
                1,
                "{mode}: {}",
                stderr(&output)
            );
        }
    }
}

#[test]
fn an_interrupt_that_was_ignored_at_the_start_stays_ignored() {
    // As `nohup` and a shell's background jobs do it: the ignored signal is inherited.
    let code =
        "print(1); for i in 0..2 { os::system(\"kill -INT \" + os::getpid()); sleep(0.05); } print(2);";
    let command = format!("trap '' INT; exec {} -e '{code}'", env!("CARGO_BIN_EXE_onelock"));
    let output = Command::new("sh").args(["-c", &command]).stdin(Stdio::null()).output().expect("a shell");
    assert_eq!((status(&output), stdout(&output).as_str()), (Some(0), "1\n2\n"), "{}", stderr(&output));
}

#[test]
fn a_string_that_doubles_for_ever_ends_in_memory_error() {
    let code = "fn grow() { let s = \"x\" * 600000000; for i in 0..40 { s += s; } }\n\
                try { grow(); } catch (e) { print(e.type); } print(\"alive\");";
    for engine in ["grain", "ast"] {
        let output = run(&["--engine", engine, "-e", code]);
        assert_eq!(stdout(&output), "MemoryError\nalive\n", "{engine}: {}", stderr(&output));
        assert_eq!(status(&output), Some(0));
    }
}

#[test]
fn ctrl_c_names_the_function_and_the_line_that_computed() {
    let calls = "fn inner() {\n  let x = 0;\n  while x < 100000000000 { x += 1; }\n}\n\
                 fn outer() {\n  inner();\n}\nprint(\"ready\");\nouter();";
    for engine in ["grain", "ast"] {
        let output = interrupted(&["--engine", engine, "-e", calls]);
        let text = stderr(&output);
        for line in ["line 9, in <module>", "line 6, in outer", "line 3, in inner"] {
            assert!(text.contains(line), "{engine}: {text}");
        }
        assert_eq!(text.matches("  File ").count(), 3, "{engine}: {text}");
    }
}

#[test]
fn ctrl_c_can_be_caught() {
    let code = "try { print(\"ready\"); while true {} } catch (e) { print(e.type); }";
    let output = interrupted(&["-e", code]);
    assert_eq!(stdout(&output), "KeyboardInterrupt\n");
    assert_eq!(status(&output), Some(0));
}

#[test]
fn a_handler_of_the_scripts_gets_ctrl_c_and_may_end_the_program() {
    let code = "signal::signal(signal::SIGINT, |n, f| exit(7)); print(\"ready\"); time::sleep(100);";
    let output = interrupted(&["-e", code]);
    assert_eq!((status(&output), stderr(&output).as_str()), (Some(7), ""));
    let code = "signal::signal(signal::SIGINT, |n, f| { throw ValueError(\"no\"); }); print(\"ready\"); while true {}";
    let output = interrupted(&["-e", code]);
    assert_eq!(status(&output), Some(1));
    assert!(stderr(&output).ends_with("ValueError: no\n"), "{}", stderr(&output));
    let code = "fn f(n, f) { print(\"handled\"); }\nsignal::signal(signal::SIGINT, f);\n\
                Thread(|| { time::sleep(0.5); print(\"done\"); }).start(); print(\"ready\");";
    let output = interrupted(&["-e", code]);
    assert_eq!((status(&output), stdout(&output).as_str()), (Some(0), "handled\ndone\n"));
}

#[test]
fn the_default_action_of_a_signal_ends_the_process() {
    let code = "signal::signal(signal::SIGTERM, |n, f| print(\"handled\")); signal::raise_signal(signal::SIGTERM);\
                signal::signal(signal::SIGTERM, signal::SIG_DFL); os::kill(os::getpid(), signal::SIGTERM);\
                time::sleep(100);";
    let output = run(&["-e", code]);
    assert_eq!(stdout(&output), "handled\n");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(libc::SIGTERM));
}

#[test]
fn compare_runs_every_mode() {
    let path = script("compare", "race.rhai", b"print(gil::mode()); print(sys::argv[1]);");
    let output = run(&["compare", path.to_str().unwrap(), "--stats"]);
    assert_eq!(status(&output), Some(0), "{}", stderr(&output));
    let table = stdout(&output);
    let header: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header, ["ticks:100", "interval:5ms", "off"]);
    for row in [
        "wall time, ms",
        "CPU time, ms",
        "waited for the GIL, ms",
        "switches",
        "forced switches",
        "exit status",
    ] {
        assert!(table.contains(row), "{row} in\n{table}");
    }
    assert!(!table.contains('?'), "every run told its totals:\n{table}");
    assert!(
        table
            .contains("first difference, line 1:\n  ticks:100     ticks:100\n  interval:5ms  interval:5ms\n"),
        "{table}"
    );
}

#[test]
fn compare_copes_with_scripts_that_fail() {
    let path = script("failing", "fails.rhai", b"print(1); throw ValueError(\"bad\");");
    let output = run(&["compare", "--rounds", "2", path.to_str().unwrap()]);
    assert_eq!(status(&output), Some(1));
    let table = stdout(&output);
    assert!(table.contains("the same"), "{table}");
    assert_eq!(table.matches("ValueError: bad").count(), 1, "the same error is shown once:\n{table}");
    let output = run(&["compare", "not_there.rhai"]);
    assert_eq!(status(&output), Some(2));
    assert!(stderr(&output).contains("no script 'not_there.rhai'"), "{}", stderr(&output));
}

#[test]
fn lessons_are_listed_shown_and_run() {
    let all = stdout(&run(&["lessons"]));
    assert!(all.starts_with("01-threads\n  "), "{all}");
    let chapter = stdout(&run(&["lessons", "threads"]));
    assert!(chapter.starts_with("01-threads\n") && chapter.len() < all.len(), "{chapter}");
    assert!(all.contains("\n  021  "), "{all}");

    let output = run(&["lessons", "21", "--show"]);
    assert_eq!(status(&output), Some(0), "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(shown.contains("from threading import Thread;"), "{shown}");
    assert!(!shown.contains("//@"), "{shown}");

    let output = run(&["lessons", "thread_lost_update", "--gil", "off"]);
    assert_eq!(stdout(&output), "这个 99\n", "{}", stderr(&output));
}

#[test]
fn unknown_lessons_are_answered_with_near_ones() {
    let output = run(&["lessons", "threds"]);
    assert_eq!(status(&output), Some(2));
    assert!(
        stderr(&output).contains("no lesson or chapter 'threds': did you mean 'threads'?"),
        "{}",
        stderr(&output)
    );
    assert_eq!(status(&run(&["lessons", "99999"])), Some(2));
}
