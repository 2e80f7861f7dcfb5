//! Waits at a channel that no other process has any more: only a thread of this process could end them, so that they
//! are a deadlock if none can.

use super::{Channel, State};
use crate::ipc::shared::Shared;
use crate::runtime::sync::Arc;
use crate::runtime::{Label, Reason, Resource};

/// A channel that scripts know as an object of theirs.
pub(super) struct Named {
    state: Shared<State>,
    label: Label,
}

/// What a thread waits for at a channel: in the words for one that has a name, and for one that has none.
pub(super) struct Wanted {
    there: &'static str,
    somewhere: &'static str,
    is_there: fn(&Channel) -> bool,
}

pub(super) const ITEM: Wanted = Wanted {
    there: "an item in",
    somewhere: "an item in a queue between processes",
    is_there: |channel| !channel.is_empty(),
};
pub(super) const ROOM: Wanted = Wanted {
    there: "room in",
    somewhere: "room in a queue between processes",
    is_there: |channel| !channel.is_full(),
};
pub(super) const ALL_DONE: Wanted = Wanted {
    there: "task_done() for every item of",
    somewhere: "task_done() for every item of a queue between processes",
    is_there: |channel| channel.unfinished() == 0,
};

/// What will not come unless from a thread of this process.
struct Missing {
    wanted: &'static Wanted,
    named: Arc<Named>,
}

impl Resource for Missing {
    fn describe(&self) -> String {
        format!("{} {}, which no other process has,", self.wanted.there, self.named.label)
    }

    fn is_shared(&self) -> bool {
        !self.named.state.is_private()
    }

    fn is_available(&self) -> bool {
        (self.wanted.is_there)(&Channel::from(self.named.state.clone()))
    }
}

impl Channel {
    /// The same channel, which scripts know under this name. Whoever waits for ever at it once no other process has it
    /// is no longer taken for one who waits for another process.
    pub fn named(self, label: Label) -> Self {
        let named = Arc::new(Named { state: self.state.clone(), label });
        Self { named: Some(named), ..self }
    }

    /// Why a thread waits that wants this.
    pub(super) fn reason(&self, wanted: &'static Wanted) -> Reason {
        match &self.named {
            Some(named) if named.state.is_private() => {
                Reason::Resource(Arc::new(Missing { wanted, named: Arc::clone(named) }))
            }
            _ => Reason::External(wanted.somewhere),
        }
    }
}
