//! `Barrier`.

use std::io;

use rhai::{Dynamic, EvalAltResult, FnPtr};

use super::promotion::{adopted, check_purpose, concrete, no_memory, remember};
use crate::ipc::codec::{self, Decoder, Encoder, Travel};
use crate::ipc::primitives as shared;
use crate::language::callable::{as_function, invoke};
use crate::language::exception::{Class, Exception, Outcome, interrupted, raise};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::variables::{synchronise, to_local, to_shared};
use crate::modules::multiprocessing::{pack_label, unpack_label};
use crate::runtime::primitives::{Barrier, BrokenBarrier};
use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Wait};

/// A script's reference to a [`Barrier`].
#[derive(Clone)]
pub struct BarrierHandle(Arc<Object>);

struct Object {
    barrier: Arc<Barrier>,
    /// A function that several threads may see: see [`to_shared`].
    action: Option<Dynamic>,
    timeout: Option<f64>,
}

impl Handle for BarrierHandle {
    const NAME: &'static str = "Barrier";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let barrier = &self.0.barrier;
        let state = if barrier.is_broken() {
            "broken".to_string()
        } else {
            format!("waiters={}/{}", barrier.waiting(), barrier.parties())
        };
        format!("<threading.Barrier at {:#x}: {state}>", self.identity())
    }
}

/// What a wait at the barrier may fail with.
enum Failure {
    Broken,
    Interrupted(Interrupt),
    Action(Box<EvalAltResult>),
    Memory(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Memory(error)
    }
}

impl From<BrokenBarrier> for Failure {
    fn from(_: BrokenBarrier) -> Self {
        Self::Broken
    }
}

impl From<Interrupt> for Failure {
    fn from(interrupt: Interrupt) -> Self {
        Self::Interrupted(interrupt)
    }
}

impl BarrierHandle {
    /// The barrier in shared memory, which it is moved to if it is not there yet.
    fn promote(&self) -> Outcome<Arc<shared::Barrier>> {
        let barrier = &self.0.barrier;
        let promoted = barrier.promote(|standing, waiting| {
            let (made, places) = shared::Barrier::standing(barrier.label().clone(), standing, waiting)?;
            remember(made.place(), &self.0);
            Ok::<_, io::Error>((made as _, places))
        });
        promoted.map(|barrier| concrete(barrier)).map_err(|error| no_memory(&error))
    }
}

impl Travel for BarrierHandle {
    const TAG: &'static str = "threading.Barrier";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, Self::NAME)?;
        let shared = self.promote()?;
        pack_label(self.0.barrier.label(), out);
        let action = self.0.action.clone().map_or(Dynamic::UNIT, to_local);
        out.named(|| "the barrier's action".into(), &action)?;
        out.u64(u64::from(self.0.timeout.is_some()));
        out.u64(self.0.timeout.unwrap_or_default().to_bits());
        out.shared(shared.state())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let label = unpack_label("Barrier", input)?;
        let action = input.value()?;
        let action = (!action.is_unit()).then(|| to_shared(action));
        let has_timeout = input.u64()? != 0;
        let timeout = f64::from_bits(input.u64()?);
        let timeout = has_timeout.then_some(timeout);
        let shared = shared::Barrier::of(label.clone(), input.shared()?);
        let make = || {
            let parties = shared.parties();
            let barrier = Barrier::promoted(label, parties, Arc::clone(&shared) as _);
            Arc::new(Object { barrier, action, timeout })
        };
        Ok(Self(adopted(shared.place(), make)))
    }
}

fn new(call: &mut Call) -> Outcome<Dynamic> {
    let parties = call.int(0)?;
    let parties = usize::try_from(parties).ok().filter(|n| *n > 0);
    let parties = parties.ok_or_else(|| raise("ValueError", "parties must be > 0"))?;
    let action = match call.argument(1).filter(|action| !action.is_unit()) {
        Some(action) => Some(to_shared(as_function(&action)?.into())),
        None => None,
    };
    let timeout = call.seconds(2)?;
    let barrier = Barrier::new(call.label("Barrier"), parties);
    Ok(Dynamic::from(BarrierHandle(Arc::new(Object { barrier, action, timeout }))))
}

fn wait(handle: &BarrierHandle, call: &mut Call) -> Outcome<Dynamic> {
    let timeout = call.seconds(0)?.or(handle.0.timeout);
    let wait = Wait { try_only: false, ..call.wait_for(timeout) };
    let this = Dynamic::from(handle.clone());
    let action = || match &handle.0.action {
        None => Ok(()),
        Some(action) => {
            let action = to_local(action.clone()).cast::<FnPtr>();
            invoke(call.context(), &action, Some(&this), vec![]).map(drop).map_err(Failure::Action)
        }
    };
    handle.0.barrier.wait(&wait, action).map(|index| (index as i64).into()).map_err(|failure| match failure {
        Failure::Broken => Exception::new(Class::known("BrokenBarrierError"), "").into_error(),
        Failure::Interrupted(interrupt) => interrupted(interrupt),
        Failure::Action(error) => error,
        Failure::Memory(error) => no_memory(&error),
    })
}

pub(super) fn define(module: &mut NativeModule) {
    codec::register::<BarrierHandle>();
    module
        .handle::<BarrierHandle>()
        .class(
            "Barrier(parties, action=None, timeout=None)",
            "A barrier at which that many threads wait for one another; the last one runs action.",
            new,
        )
        .method::<BarrierHandle, _>(
            "wait(timeout=None)",
            "Waits for the others; a different number from 0 on for each. BrokenBarrierError on timeout or abort.",
            wait,
        )
        .method::<BarrierHandle, _>("reset()", "Makes the barrier as new; who waits gets BrokenBarrierError.", |b, _| {
            synchronise();
            b.0.barrier.reset();
            Ok(Dynamic::UNIT)
        })
        .method::<BarrierHandle, _>("abort()", "Breaks the barrier for everybody.", |b, _| {
            synchronise();
            b.0.barrier.abort();
            Ok(Dynamic::UNIT)
        })
        .attribute::<BarrierHandle, _>("parties", "How many threads the barrier takes.", |b| {
            Ok((b.0.barrier.parties() as i64).into())
        })
        .attribute::<BarrierHandle, _>("n_waiting", "How many wait at the moment.", |b| {
            Ok((b.0.barrier.waiting() as i64).into())
        })
        .attribute::<BarrierHandle, _>("broken", "Is the barrier broken?", |b| Ok(b.0.barrier.is_broken().into()));
}
