//! The child's side: takes jobs and answers them.

use std::collections::HashMap;
use std::os::unix::process::parent_id;
use std::time::{Duration, Instant};

use rhai::{Dynamic, EvalAltResult};

use super::message::{self, Called};
use super::seat::{Place, Seat};
use crate::ipc::codec::{Encoded, decode};
use crate::ipc::{SendError, die_of_interrupts};
use crate::language::exception::{Class, Exception, Outcome, exception_of, interrupted, is_stop, raise};
use crate::language::function::{Caller, Function};
use crate::language::native::Call;
use crate::language::realm::Realm;
use crate::language::value;
use crate::language::variables::synchronise;
use crate::modules::pool::{Calls, Reply, answer};
use crate::modules::threading::report_uncaught;
use crate::runtime::sync::{Arc, Ordering};
use crate::runtime::{Site, Wait};

/// The native function that a worker process calls.
pub const SIGNATURE: &str = "__worker__(seat)";
/// Its qualified name.
pub const NAME: &str = "multiprocessing.__worker__";

/// Works until it is told to leave, or has done enough.
pub fn work(call: &mut Call) -> Outcome<Dynamic> {
    let seat =
        call.required(0)?.try_cast::<Seat>().ok_or_else(|| raise("TypeError", "a worker needs a seat"))?;
    let place = &*seat.0;
    die_of_interrupts();
    if let Some((function, args)) = &place.initializer {
        let function = Function::new(call.context(), function)?;
        if let Err(error) = function.call(args.clone()) {
            return initializer_failed(call, place, error);
        }
        synchronise();
    }
    place.notes.is_ready.store(1, Ordering::Release);
    let realm = call.realm();
    Worker { call, place, functions: HashMap::new() }.serve(&mut Caller::new(realm.engine()))?;
    place.notes.has_left.store(1, Ordering::Release);
    Ok(Dynamic::UNIT)
}

fn initializer_failed(call: &Call, place: &Place, error: Box<EvalAltResult>) -> Outcome<Dynamic> {
    if place.exits || is_stop(&error) {
        return Err(error);
    }
    // An executor's: said as CPython logs it. The parent sees that the worker did not come to work.
    report_uncaught(&call.realm(), "Exception in initializer:", &exception_of(&error, "", ""));
    Ok(Dynamic::UNIT)
}

/// What a job's message is about.
type Task = (Arc<Function>, Calls);

/// How often an idle worker looks whether its parent is still there.
const LOOK_ROUND: Duration = Duration::from_secs(1);

struct Worker<'w, 'c, 'a, 'd> {
    call: &'w Call<'c, 'a, 'd>,
    place: &'w Place,
    /// The functions with a key that came by.
    functions: HashMap<u64, Arc<Function>>,
}

impl Worker<'_, '_, '_, '_> {
    fn serve(&mut self, caller: &mut Caller<'_>) -> Outcome<()> {
        let place = self.place;
        let wait = Wait::forever(Site::default());
        let realm = self.call.realm();
        let parent = parent_id();
        let mut done = 0;
        while place.most_jobs == 0 || done < place.most_jobs {
            let note = |number: u32| place.notes.taken.store(u64::from(number) + 1, Ordering::Release);
            let wait_for_job = Wait { deadline: Some(Instant::now() + LOOK_ROUND), ..wait.clone() };
            let job = place.jobs.receive_noting(&wait_for_job, note, |message| self.read(message));
            let Some((number, job)) = job.map_err(interrupted)?.transpose()? else {
                if parent_id() == parent {
                    continue;
                }
                // Nobody will send anything any more.
                return Ok(());
            };
            if number == message::LEAVE {
                return Ok(());
            }
            let result = job.and_then(|(function, calls)| run(caller, &function, calls));
            let answer = self.answer_of(&realm, number, result)?;
            let sent = place.answers.send(&answer.bytes, &wait);
            sent.map_err(|error| match error {
                SendError::Interrupted(interrupt) => interrupted(interrupt),
                SendError::Memory(error) => raise("MemoryError", format!("no memory for a result: {error}")),
            })?;
            answer.sent();
            done += 1;
        }
        Ok(())
    }

    /// A message's number, and the job that it is, if it can be read.
    fn read(&mut self, message: &[u8]) -> Outcome<(u64, Outcome<Task>)> {
        let (number, rest) = message::split_number(message)?;
        if number == message::LEAVE {
            return Ok((number, Err(raise("RuntimeError", "no job"))));
        }
        Ok((number, self.read_job(rest)))
    }

    fn read_job(&mut self, message: &[u8]) -> Outcome<Task> {
        let (called, calls) = message::decode_job(message)?;
        let function = match called {
            Called::Whole(function) => Function::new(self.call.context(), &function)?,
            Called::Keyed(key, bytes) => match self.functions.get(&key) {
                Some(function) => Arc::clone(function),
                None => {
                    let function = Function::new(self.call.context(), &decode(bytes, Vec::new())?)?;
                    self.functions.insert(key, Arc::clone(&function));
                    function
                }
            },
        };
        Ok((function, calls))
    }

    fn answer_of(&self, realm: &Arc<Realm>, number: u64, result: Outcome<Reply>) -> Outcome<Encoded> {
        let error = match result {
            Ok(reply) => match message::encode_reply(number, &reply) {
                Ok(answer) => return Ok(answer),
                Err(error) if self.place.exits => maybe_encoding_error(&reply, &error),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if is_stop(&error) {
            return Err(error);
        }
        let exception = exception_of(&error, "", "");
        if self.place.exits && exception.class().name == "SystemExit" {
            return Err(error);
        }
        Ok(message::encode_exception(realm, number, &exception))
    }
}

fn run(caller: &mut Caller<'_>, function: &Arc<Function>, calls: Calls) -> Outcome<Reply> {
    let result = answer(caller, function, calls);
    synchronise();
    result
}

/// What a pool says of a result that cannot travel.
fn maybe_encoding_error(reply: &Reply, error: &EvalAltResult) -> Box<EvalAltResult> {
    let reason = exception_of(error, "", "").repr();
    let value = match reply {
        Reply::One(value) => value::repr(value),
        Reply::Many(values) => value::repr_sequence(values, 0),
    };
    let text = format!("Error sending result: '{value}'. Reason: '{reason}'");
    let args = vec![reason.into(), value.into()];
    Exception::with_args(Class::known("MaybeEncodingError"), text, args).into_error()
}
