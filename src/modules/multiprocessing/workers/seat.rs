//! What a worker process needs to know of its crew.

use rhai::Dynamic;

use crate::ipc::codec::{Decoder, Encoder, Travel};
use crate::ipc::{Channel, Shared, Zeroed};
use crate::language::exception::Outcome;
use crate::language::identity::Handle;
use crate::runtime::sync::{Arc, AtomicU32, AtomicU64};

/// What a worker notes for its parent, who reads it when the worker has ended.
#[repr(C)]
pub struct Notes {
    /// One more than the number of the message that it took last, modulo 2^32; 0 before the first.
    pub taken: AtomicU64,
    /// 1 once its initializer has returned, so that it can work.
    pub is_ready: AtomicU32,
    /// 1 if it left because it was told to, or because it had done enough.
    pub has_left: AtomicU32,
}

// SAFETY: atomics; zero is a worker that has done nothing.
unsafe impl Zeroed for Notes {
    const KIND: u32 = 0x776f_726b;
}

/// A place in a crew.
pub struct Place {
    /// Where the jobs come from.
    pub jobs: Channel,
    /// Where the answers go.
    pub answers: Channel,
    /// What the parent reads when the worker has ended.
    pub notes: Shared<Notes>,
    /// `exit()` in a job ends the worker; else it is an exception like any other.
    pub exits: bool,
    /// After how many jobs the worker leaves; never if 0.
    pub most_jobs: u64,
    /// What it calls first, if anything: the function and its arguments.
    pub initializer: Option<(Dynamic, Vec<Dynamic>)>,
}

/// A place on its way to the worker.
#[derive(Clone)]
pub struct Seat(pub Arc<Place>);

impl Handle for Seat {
    const NAME: &'static str = "Seat";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

impl Travel for Seat {
    const TAG: &'static str = "multiprocessing.Seat";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        let place = &*self.0;
        out.shared(place.jobs.shared())?;
        out.shared(place.answers.shared())?;
        out.shared(&place.notes)?;
        out.u64(u64::from(place.exits));
        out.u64(place.most_jobs);
        let Some((function, args)) = &place.initializer else {
            out.u64(0);
            return Ok(());
        };
        out.u64(1);
        out.named(|| "initializer".into(), function)?;
        out.u64(args.len() as u64);
        for (index, arg) in args.iter().enumerate() {
            out.named(|| format!("initargs[{index}]"), arg)?;
        }
        Ok(())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let (jobs, answers) = (Channel::from(input.shared()?), Channel::from(input.shared()?));
        let notes = input.shared::<Notes>()?;
        let (exits, most_jobs) = (input.u64()? != 0, input.u64()?);
        let initializer = match input.u64()? {
            0 => None,
            _ => {
                let function = input.value()?;
                let count = input.u64()?;
                Some((function, input.values(count)?))
            }
        };
        Ok(Self(Arc::new(Place { jobs, answers, notes, exits, most_jobs, initializer })))
    }
}
