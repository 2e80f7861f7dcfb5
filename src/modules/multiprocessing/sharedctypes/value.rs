//! `Value` and `RawValue`.

use rhai::Dynamic;

use super::cell::Cell;
use super::guard::Guard;
use crate::ipc::codec::{self, Decoder, Encoder, Travel};
use crate::language::exception::Outcome;
use crate::language::identity::{Handle, Rank};
use crate::language::native::NativeModule;
use crate::language::value::repr;
use crate::language::variables::synchronise;
use crate::modules::multiprocessing::synchronize::{block_and_timeout, check_purpose};
use crate::runtime::sync::Arc;
use crate::runtime::{Site, Wait};

/// A script's reference to a value without a lock.
#[derive(Clone)]
pub struct RawValueHandle(pub Cell);

/// A script's reference to a value with a lock.
#[derive(Clone)]
pub struct ValueHandle(Arc<(RawValueHandle, Guard)>);

impl Handle for RawValueHandle {
    const NAME: &'static str = "RawValue";

    fn identity(&self) -> usize {
        self.0.place()
    }

    fn repr(&self) -> String {
        let value = self.0.get(0).map_or_else(|_| "?".into(), |value| repr(&value));
        format!("{}({value})", self.0.code().name)
    }
}

impl Handle for ValueHandle {
    const NAME: &'static str = "Synchronized";
    const RANK: Rank = Rank::First;

    fn identity(&self) -> usize {
        // Apart from that of the bare value inside.
        self.0.0.identity() + 1
    }

    fn repr(&self) -> String {
        format!("<Synchronized wrapper for {}>", self.0.0.repr())
    }

    fn enter(&self, site: Site) -> Option<Outcome<Dynamic>> {
        Some(self.guard().acquire(&Wait::forever(site)).map(Dynamic::from))
    }

    fn exit(&self) -> Option<Outcome<Dynamic>> {
        Some(self.guard().release())
    }
}

impl Travel for RawValueHandle {
    const TAG: &'static str = "multiprocessing.RawValue";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, self.0.code().name)?;
        self.0.pack(out)
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        Cell::unpack(input).map(Self)
    }
}

impl Travel for ValueHandle {
    const TAG: &'static str = "multiprocessing.Value";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, Self::NAME)?;
        self.0.0.0.pack(out)?;
        self.0.1.pack(out)
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let raw = RawValueHandle::unpack(input)?;
        Ok(Self::new(raw, Guard::unpack(input)?))
    }
}

impl ValueHandle {
    pub(super) fn new(raw: RawValueHandle, guard: Guard) -> Self {
        Self(Arc::new((raw, guard)))
    }

    fn cell(&self) -> &Cell {
        &self.0.0.0
    }

    fn guard(&self) -> &Guard {
        &self.0.1
    }
}

pub(super) fn define(module: &mut NativeModule) {
    codec::register::<RawValueHandle>();
    codec::register::<ValueHandle>();
    module
        .handle::<RawValueHandle>()
        .attribute::<RawValueHandle, _>("value", "The value.", |raw| {
            synchronise();
            raw.0.get(0)
        })
        .assignable::<RawValueHandle, _>("value", |raw, value| {
            synchronise();
            raw.0.set(0, &value)
        });
    module
        .handle::<ValueHandle>()
        .attribute::<ValueHandle, _>("value", "The value, read and written under the lock.", |value| {
            synchronise();
            value.guard().with_cell(Site::default, || value.cell().get(0))
        })
        .assignable::<ValueHandle, _>("value", |value, new| {
            synchronise();
            value.guard().with_cell(Site::default, || value.cell().set(0, &new))
        })
        .method::<ValueHandle, _>(
            "add(n)",
            "Adds n under the lock, as one operation, and returns the new value. CPython has no such method.",
            |value, call| {
                let n = call.required(0)?;
                synchronise();
                value.guard().with_cell(|| call.site(), || value.cell().add(0, &n))
            },
        )
        .method::<ValueHandle, _>("get_obj()", "The value without its lock.", |value, _| {
            Ok(Dynamic::from(value.0.0.clone()))
        })
        .method::<ValueHandle, _>("get_lock()", "The lock.", |value, _| Ok(value.guard().to_value()))
        .method::<ValueHandle, _>("acquire(block=True, timeout=None)", "Takes the lock.", |value, call| {
            let wait = block_and_timeout(call)?;
            value.guard().acquire(&wait).map(Dynamic::from)
        })
        .method::<ValueHandle, _>("release()", "Frees the lock.", |value, _| value.guard().release())
        .method::<ValueHandle, _>("__enter__()", "What `with` does first: acquire().", |value, call| {
            value.guard().acquire(&Wait::forever(call.site())).map(Dynamic::from)
        })
        .method::<ValueHandle, _>("__exit__(error=None)", "What `with` does last: release().", |value, _| {
            value.guard().release()
        });
}
