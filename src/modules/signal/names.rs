//! The signals that have names.

use rustix::process::Signal;

/// Names, numbers and the system's texts, in the order of the numbers.
pub const SIGNALS: &[(&str, i32, &str)] = &[
    ("SIGHUP", libc::SIGHUP, "Hangup"),
    ("SIGINT", libc::SIGINT, "Interrupt"),
    ("SIGQUIT", libc::SIGQUIT, "Quit"),
    ("SIGILL", libc::SIGILL, "Illegal instruction"),
    ("SIGTRAP", libc::SIGTRAP, "Trace/breakpoint trap"),
    ("SIGABRT", libc::SIGABRT, "Aborted"),
    ("SIGBUS", libc::SIGBUS, "Bus error"),
    ("SIGFPE", libc::SIGFPE, "Floating point exception"),
    ("SIGKILL", libc::SIGKILL, "Killed"),
    ("SIGUSR1", libc::SIGUSR1, "User defined signal 1"),
    ("SIGSEGV", libc::SIGSEGV, "Segmentation fault"),
    ("SIGUSR2", libc::SIGUSR2, "User defined signal 2"),
    ("SIGPIPE", libc::SIGPIPE, "Broken pipe"),
    ("SIGALRM", libc::SIGALRM, "Alarm clock"),
    ("SIGTERM", libc::SIGTERM, "Terminated"),
    ("SIGSTKFLT", libc::SIGSTKFLT, "Stack fault"),
    ("SIGCHLD", libc::SIGCHLD, "Child exited"),
    ("SIGCONT", libc::SIGCONT, "Continued"),
    ("SIGSTOP", libc::SIGSTOP, "Stopped (signal)"),
    ("SIGTSTP", libc::SIGTSTP, "Stopped"),
    ("SIGTTIN", libc::SIGTTIN, "Stopped (tty input)"),
    ("SIGTTOU", libc::SIGTTOU, "Stopped (tty output)"),
    ("SIGURG", libc::SIGURG, "Urgent I/O condition"),
    ("SIGXCPU", libc::SIGXCPU, "CPU time limit exceeded"),
    ("SIGXFSZ", libc::SIGXFSZ, "File size limit exceeded"),
    ("SIGVTALRM", libc::SIGVTALRM, "Virtual timer expired"),
    ("SIGPROF", libc::SIGPROF, "Profiling timer expired"),
    ("SIGWINCH", libc::SIGWINCH, "Window changed"),
    ("SIGIO", libc::SIGIO, "I/O possible"),
    ("SIGPWR", libc::SIGPWR, "Power failure"),
    ("SIGSYS", libc::SIGSYS, "Bad system call"),
];

/// The name of a signal, if it has one.
pub fn name(number: i32) -> Option<&'static str> {
    SIGNALS.iter().find(|(_, known, _)| *known == number).map(|(name, ..)| *name)
}

/// What the system says of a signal.
pub fn text(number: i32) -> Option<String> {
    let text = SIGNALS.iter().find(|(_, known, _)| *known == number).map(|(.., text)| text.to_string());
    text.or_else(|| {
        let real_time = number - libc::SIGRTMIN();
        (0..=libc::SIGRTMAX() - libc::SIGRTMIN())
            .contains(&real_time)
            .then(|| format!("Real-time signal {real_time}"))
    })
}

/// The signal of that number, if it has a name.
pub fn named(number: i64) -> Option<Signal> {
    i32::try_from(number).ok().and_then(Signal::from_named_raw)
}
