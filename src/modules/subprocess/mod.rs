//! `subprocess`: programs that run as children of this process.

mod communicate;
mod errors;
mod options;
mod popen;

use rhai::Dynamic;
use rustix::process::Signal;

use crate::language::exception::{Class, Outcome, exception_of, raise};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::language::variables::{to_local, to_shared};
use crate::runtime::Site;
use crate::runtime::sync::Arc;
use options::{DEVNULL, Options, PIPE, STDOUT, Stream};

pub use popen::Popen;

/// What `run` returns.
#[derive(Clone)]
struct CompletedProcess(Arc<Completed>);

struct Completed {
    args: Dynamic,
    status: i64,
    stdout: Dynamic,
    stderr: Dynamic,
}

impl Handle for CompletedProcess {
    const NAME: &'static str = "CompletedProcess";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let completed = &self.0;
        let shown = |name: &str, value: &Dynamic| match value.is_unit() {
            true => String::new(),
            false => format!(", {name}={}", value::repr(value)),
        };
        let (stdout, stderr) = (shown("stdout", &completed.stdout), shown("stderr", &completed.stderr));
        let args = value::repr(&to_local(completed.args.clone()));
        format!("CompletedProcess(args={args}, returncode={}{stdout}{stderr})", completed.status)
    }
}

impl CompletedProcess {
    fn check(&self) -> Outcome<()> {
        let Completed { args, status, stdout, stderr } = &*self.0;
        if *status == 0 {
            return Ok(());
        }
        let args = to_local(args.clone());
        Err(errors::called_process_error(*status, args, stdout.clone(), stderr.clone()).into_error())
    }
}

const OPTIONS_OF_RUN: &str = "run(args, *, stdin=None, input=None, stdout=None, stderr=None, \
    capture_output=False, shell=False, cwd=None, timeout=None, check=False, encoding=None, errors=None, \
    text=None, env=None, universal_newlines=None, bufsize=-1, executable=None, start_new_session=False, \
    process_group=None)";
const OPTIONS_OF_CALL: &str = "call(args, *, stdin=None, stdout=None, stderr=None, shell=False, cwd=None, \
    timeout=None, env=None, executable=None, start_new_session=False, process_group=None)";
const OPTIONS_OF_CHECK_CALL: &str = "check_call(args, *, stdin=None, stdout=None, stderr=None, shell=False, \
    cwd=None, timeout=None, env=None, executable=None, start_new_session=False, process_group=None)";
const OPTIONS_OF_CHECK_OUTPUT: &str = "check_output(args, *, stdin=None, stdout=None, stderr=None, \
    input=None, shell=False, cwd=None, timeout=None, encoding=None, errors=None, text=None, env=None, \
    universal_newlines=None, bufsize=-1, executable=None, start_new_session=False, process_group=None)";

/// The module.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("subprocess");
    errors::register(&mut module);
    popen::register(&mut module);
    module
        .constant("PIPE", "For a stream: a pipe to this process.", PIPE)
        .constant("STDOUT", "For stderr: where stdout goes.", STDOUT)
        .constant("DEVNULL", "For a stream: nowhere.", DEVNULL)
        .function(
            OPTIONS_OF_RUN,
            "Runs a program to its end: CompletedProcess. With check, CalledProcessError if it fails.",
            |call| {
                let check = call.named("check").is_some_and(|check| value::is_true(&check));
                let completed = run(call)?;
                if check {
                    completed.check()?;
                }
                Ok(Dynamic::from(completed))
            },
        )
        .function(OPTIONS_OF_CALL, "Runs a program to its end; returns its status.", |call| {
            Ok(run(call)?.0.status.into())
        })
        .function(
            OPTIONS_OF_CHECK_CALL,
            "Runs a program to its end; CalledProcessError if it fails.",
            |call| {
                run(call)?.check()?;
                Ok(0_i64.into())
            },
        )
        .function(
            OPTIONS_OF_CHECK_OUTPUT,
            "Runs a program to its end; returns its output. CalledProcessError if it fails.",
            |call| {
                if call.named("stdout").is_some() {
                    let text = "stdout argument not allowed, it will be overridden.";
                    return Err(raise("ValueError", text));
                }
                let completed = run_with(call, |options| {
                    options.streams[1] = Stream::Pipe;
                    Ok(())
                })?;
                completed.check()?;
                Ok(completed.0.stdout.clone())
            },
        )
        .function("getstatusoutput(cmd)", "Runs a shell command: [status, output].", |call| {
            let (status, output) = shell(call)?;
            Ok(vec![status.into(), output].into())
        })
        .function("getoutput(cmd)", "Runs a shell command; returns its output.", |call| Ok(shell(call)?.1));
    module
        .handle::<CompletedProcess>()
        .attribute::<CompletedProcess, _>("args", "What was run, as it was given.", |this| {
            Ok(to_local(this.0.args.clone()))
        })
        .attribute::<CompletedProcess, _>("returncode", "The exit status, -N for signal N.", |this| {
            Ok(this.0.status.into())
        })
        .attribute::<CompletedProcess, _>("stdout", "What it printed, if that was asked for.", |this| {
            Ok(this.0.stdout.clone())
        })
        .attribute::<CompletedProcess, _>("stderr", "Its errors, if those were asked for.", |this| {
            Ok(this.0.stderr.clone())
        })
        .method::<CompletedProcess, _>(
            "check_returncode()",
            "CalledProcessError if the status is not 0.",
            |this, _| this.check().map(Dynamic::from),
        );
    module
}

fn run(call: &mut Call) -> Outcome<CompletedProcess> {
    if !call.named("capture_output").is_some_and(|capture| value::is_true(&capture)) {
        return run_with(call, |_| Ok(()));
    }
    run_with(call, |options| {
        if !matches!(options.streams, [_, Stream::Inherited, Stream::Inherited]) {
            let text = "stdout and stderr arguments may not be used with capture_output.";
            return Err(raise("ValueError", text));
        }
        options.streams[1] = Stream::Pipe;
        options.streams[2] = Stream::Pipe;
        Ok(())
    })
}

/// Runs a program with the call's options, as `change` changes them.
fn run_with(call: &mut Call, change: impl FnOnce(&mut Options) -> Outcome<()>) -> Outcome<CompletedProcess> {
    let input = call.named("input").filter(|input| !input.is_unit());
    let timeout = call.named_seconds("timeout")?;
    let site = call.site();
    let mut options = Options::read(call)?;
    if input.is_some() {
        if !matches!(options.streams[0], Stream::Inherited) {
            return Err(raise("ValueError", "stdin and input arguments may not both be used."));
        }
        options.streams[0] = Stream::Pipe;
    }
    change(&mut options)?;
    let popen = Popen::start(options)?;
    finish(&popen, input.as_ref(), timeout, site)
}

/// Sees a program to its end. Whatever interrupts that ends the program, too.
fn finish(
    popen: &Popen,
    input: Option<&Dynamic>,
    timeout: Option<f64>,
    site: Site,
) -> Outcome<CompletedProcess> {
    match popen.communicate(input, timeout, site) {
        Ok([stdout, stderr]) => {
            let status = popen.wait(None, site)?;
            Ok(CompletedProcess(Arc::new(Completed {
                args: to_shared(popen.args()),
                status,
                stdout,
                stderr,
            })))
        }
        Err(error) => {
            popen.signal(Signal::KILL)?;
            let exception = exception_of(&error, "", "");
            if exception.class() == Class::known("TimeoutExpired") {
                popen.wait(None, site)?;
            }
            Err(error)
        }
    }
}

/// Runs a shell command: its status and its output, without the last line's end.
fn shell(call: &mut Call) -> Outcome<(i64, Dynamic)> {
    let command = call.text(0)?;
    let site = call.site();
    let mut options = Options::of_shell(call, &command)?;
    options.streams[1] = Stream::Pipe;
    options.streams[2] = Stream::Output;
    let completed = finish(&Popen::start(options)?, None, None, site)?;
    let output = value::str(&completed.0.stdout);
    let output = output.strip_suffix('\n').unwrap_or(&output);
    Ok((completed.0.status, output.to_string().into()))
}
