//! `Popen`: a program that runs as a child of this process.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rhai::Dynamic;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};

use super::communicate::Communication;
use super::errors;
use super::options::{Options, Stream};
use crate::ipc::Child;
use crate::language::exception::{Exception, Outcome, interrupted, raise_io};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::language::variables::{to_local, to_shared};
use crate::modules::io::File;
use crate::modules::signal::names;
use crate::runtime::sync::{Arc, Mutex};
use crate::runtime::{Site, detached};

/// A script's reference to a process that it started.
#[derive(Clone)]
pub struct Popen(pub(super) Arc<Inner>);

pub(super) struct Inner {
    /// As the script gave them.
    pub(super) args: Dynamic,
    /// Taken only when the object is dropped.
    child: Option<Child>,
    /// This process's ends of the pipes to standard input, output and error.
    pub(super) files: [Option<File>; 3],
    /// How it ended, once the script has asked.
    status: Mutex<Option<i32>>,
    pub(super) communication: Mutex<Communication>,
}

/// Processes that nobody waited for before their objects were dropped.
static LEFT: Mutex<Vec<Child>> = Mutex::new(Vec::new());

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(child) = self.child.take()
            && child.exit_code().is_none()
        {
            LEFT.lock().push(child);
        }
    }
}

impl Handle for Popen {
    const NAME: &'static str = "Popen";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let status = self.0.seen().map_or_else(|| "None".into(), |code| code.to_string());
        let mut args = value::repr(&self.args());
        if let Some((at, _)) = args.char_indices().nth(100) {
            args.truncate(at);
            args.push_str("...");
        }
        format!("<Popen: returncode: {status} args: {args}>")
    }
}

impl Inner {
    fn child(&self) -> &Child {
        self.child.as_ref().expect("taken only when the object is dropped")
    }

    /// The exit status, negative for a signal; nothing while the program runs.
    pub(super) fn poll(&self) -> Option<i32> {
        let status = self.child().exit_code();
        *self.status.lock() = status;
        status
    }

    /// The exit status as it was seen last.
    fn seen(&self) -> Option<i32> {
        *self.status.lock()
    }
}

impl Popen {
    /// Starts a program. Blocks until it has begun or could not be.
    ///
    /// # Errors
    /// FileNotFoundError and the system's other errors, with the program's name.
    pub(super) fn start(mut options: Options) -> Outcome<Self> {
        LEFT.lock().retain(|child| child.exit_code().is_none());
        let streams = std::mem::replace(
            &mut options.streams,
            [Stream::Inherited, Stream::Inherited, Stream::Inherited],
        );
        let spawned = detached(|| spawn(&options, streams));
        let (child, ends) = spawned.map_err(|error| {
            let is_missing = |path: &&String| !std::path::Path::new(path).is_dir();
            let path = options.cwd.as_ref().filter(is_missing).cloned();
            raise_io(&error, Some(&path.unwrap_or_else(|| options.program())))
        })?;
        let mut index = 0;
        let files = ends.map(|end| {
            let format = if index == 0 { options.writes.clone() } else { options.reads.clone() };
            index += 1;
            end.map(|end| {
                let name = end.as_raw_fd().to_string();
                File::new(end.into(), name, format).map_err(|error| raise_io(&error, None))
            })
            .transpose()
        });
        let [stdin, stdout, stderr] = files;
        Ok(Self(Arc::new(Inner {
            args: to_shared(options.args),
            child: Some(child),
            files: [stdin?, stdout?, stderr?],
            status: Mutex::default(),
            communication: Mutex::default(),
        })))
    }

    /// The arguments, as the script gave them.
    pub(super) fn args(&self) -> Dynamic {
        to_local(self.0.args.clone())
    }

    /// Waits for the end of the program.
    ///
    /// # Errors
    /// TimeoutExpired after `timeout` seconds, KeyboardInterrupt.
    pub(super) fn wait(&self, timeout: Option<f64>, site: Site) -> Outcome<i64> {
        let deadline = timeout.and_then(deadline_in);
        if !self.0.child().wait(deadline, site).map_err(interrupted)? {
            return Err(self.timeout_expired(timeout.unwrap_or_default()).into_error());
        }
        Ok(self.0.poll().unwrap_or_default().into())
    }

    pub(super) fn timeout_expired(&self, timeout: f64) -> Exception {
        errors::timeout_expired(self.args(), timeout.into())
    }

    /// Sends a signal, unless the program has ended.
    pub(super) fn signal(&self, signal: Signal) -> Outcome<()> {
        if self.0.poll().is_some() {
            return Ok(());
        }
        self.0.child().signal(signal).map_err(|error| raise_io(&error, None))
    }

    /// Leaves `with`: closes the pipes and waits for the end.
    fn leave(&self, site: Site) -> Outcome<()> {
        let [stdin, stdout, stderr] = &self.0.files;
        for file in [stdout, stderr].into_iter().flatten() {
            file.close(&|| site)?;
        }
        if let Some(stdin) = stdin {
            // The program may have ended without reading everything.
            let _ = stdin.close(&|| site);
        }
        self.wait(None, site).map(drop)
    }
}

/// The moment that is so many seconds away.
pub(super) fn deadline_in(seconds: f64) -> Option<Instant> {
    Instant::now().checked_add(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

type Ends = [Option<OwnedFd>; 3];

fn spawn(options: &Options, streams: [Stream; 3]) -> io::Result<(Child, Ends)> {
    let (program, args) = options.words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(options.executable.as_ref().unwrap_or(program));
    command.arg0(program).args(args).env_clear().envs(options.variables.iter().map(|(n, v)| (n, v)));
    if let Some(cwd) = &options.cwd {
        command.current_dir(cwd);
    }
    if let Some(group) = options.group {
        command.process_group(group);
    }
    if options.new_session {
        // SAFETY: between fork and exec the closure makes one system call and touches no memory of ours.
        unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?)) };
    }
    let [stdin, stdout, stderr] = streams;
    let (child_in, stdin) = input_end(stdin)?;
    let (child_out, stdout) = output_end(stdout)?;
    let (child_err, stderr) = match stderr {
        Stream::Output => {
            let copy = match &child_out {
                Some(fd) => fd.try_clone()?,
                None => rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?,
            };
            (Some(copy), None)
        }
        stream => output_end(stream)?,
    };
    let stdio = |fd: Option<OwnedFd>| fd.map_or_else(Stdio::inherit, Stdio::from);
    command.stdin(stdio(child_in)).stdout(stdio(child_out)).stderr(stdio(child_err));
    let mut spawned = command.spawn()?;
    match Child::new(Pid::from_child(&spawned)) {
        Ok(child) => Ok((child, [stdin, stdout, stderr])),
        Err(error) => {
            // Without a descriptor nobody could wait for it.
            let _ = spawned.kill();
            let _ = spawned.wait();
            Err(error)
        }
    }
}

fn null() -> io::Result<OwnedFd> {
    Ok(std::fs::File::options().read(true).write(true).open("/dev/null")?.into())
}

fn input_end(stream: Stream) -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    match stream {
        Stream::Inherited | Stream::Output => Ok((None, None)),
        Stream::Null => Ok((Some(null()?), None)),
        Stream::File(fd) => Ok((Some(fd), None)),
        Stream::Pipe => {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            Ok((Some(read), Some(write)))
        }
    }
}

fn output_end(stream: Stream) -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    match stream {
        Stream::Pipe => {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            Ok((Some(write), Some(read)))
        }
        stream => input_end(stream),
    }
}

/// Adds the class to the module.
pub(super) fn register(module: &mut NativeModule) {
    module
        .handle::<Popen>()
        .class(
            "Popen(args, bufsize=-1, executable=None, stdin=None, stdout=None, stderr=None, *, shell=False, \
             cwd=None, env=None, universal_newlines=None, start_new_session=False, process_group=None, \
             encoding=None, errors=None, text=None)",
            "Starts a program: an array of its name and arguments, or a command of the shell.",
            |call| Ok(Dynamic::from(Popen::start(Options::read(call)?)?)),
        )
        .attribute::<Popen, _>("args", "What was started, as it was given.", |popen| Ok(popen.args()))
        .attribute::<Popen, _>("pid", "The number of the process.", |popen| {
            Ok(i64::from(popen.0.child().pid().as_raw_nonzero().get()).into())
        })
        .attribute::<Popen, _>(
            "returncode",
            "The exit status, -N for signal N; None until poll() or wait() has seen the end.",
            |popen| Ok(popen.0.seen().map(|code| i64::from(code).into()).unwrap_or_default()),
        );
    for (index, name) in ["stdin", "stdout", "stderr"].into_iter().enumerate() {
        let doc = "The file at this end of the pipe, or None.";
        module.attribute::<Popen, _>(name, doc, move |popen| {
            Ok(popen.0.files[index].clone().map(Dynamic::from).unwrap_or_default())
        });
    }
    module
        .method::<Popen, _>("poll()", "The exit status, None while it runs.", |popen, _| {
            Ok(popen.0.poll().map(|code| i64::from(code).into()).unwrap_or_default())
        })
        .method::<Popen, _>(
            "wait(timeout=None)",
            "Waits for the end and returns the exit status; TimeoutExpired if it does not come in time.",
            |popen, call| {
                let timeout = call.seconds(0)?;
                Ok(popen.wait(timeout, call.site())?.into())
            },
        )
        .method::<Popen, _>(
            "communicate(input=None, timeout=None)",
            "Writes the input, reads all output and waits for the end: [stdout, stderr].",
            communicate,
        )
        .method::<Popen, _>("send_signal(signal)", "Sends a signal, unless it has ended.", |popen, call| {
            let number = call.int(0)?;
            let signal =
                names::named(number).ok_or_else(|| raise_io(&rustix::io::Errno::INVAL.into(), None))?;
            popen.signal(signal)?;
            Ok(Dynamic::UNIT)
        })
        .method::<Popen, _>("terminate()", "Sends SIGTERM.", |popen, _| {
            popen.signal(Signal::TERM).map(Dynamic::from)
        })
        .method::<Popen, _>("kill()", "Sends SIGKILL.", |popen, _| {
            popen.signal(Signal::KILL).map(Dynamic::from)
        })
        .method::<Popen, _>("__enter__()", "Enters `with`: the object itself.", |popen, _| {
            Ok(Dynamic::from(popen.clone()))
        })
        .method::<Popen, _>(
            "__exit__(error=None)",
            "Leaves `with`: closes the pipes and waits for the end.",
            |popen, call| popen.leave(call.site()).map(Dynamic::from),
        );
}

fn communicate(popen: &Popen, call: &mut Call) -> Outcome<Dynamic> {
    let input = call.argument(0).filter(|input| !input.is_unit());
    let timeout = call.seconds(1)?;
    let output = popen.communicate(input.as_ref(), timeout, call.site())?;
    Ok(output.to_vec().into())
}

/// The bytes of the input for a program; none if it is not read from a pipe, as in CPython.
pub(super) fn input_bytes(popen: &Popen, input: &Dynamic) -> Outcome<Vec<u8>> {
    popen.0.files[0].as_ref().map_or(Ok(Vec::new()), |stdin| stdin.bytes_of_written(input))
}
