//! Jobs that were sent and not answered, by number.

use std::collections::{BTreeMap, VecDeque};

use crate::modules::pool::Ticket;
use crate::runtime::sync::Arc;

/// A job that was sent and not answered.
pub(super) struct Sent {
    pub(super) ticket: Arc<dyn Ticket>,
    pub(super) part: usize,
}

/// The jobs that are out. Their numbers go up, and most are answered in about the order in which they were sent, so
/// they stand in a row; those that take much longer than the others are set aside.
#[derive(Default)]
pub(super) struct Outbox {
    /// The number of the first in the row.
    first: u64,
    row: VecDeque<Option<Sent>>,
    /// How many in the row are not answered.
    open: usize,
    aside: BTreeMap<u64, Sent>,
}

/// The row may be this much longer than what is open in it.
const SLACK: usize = 64;

impl Outbox {
    /// Adds a job. Numbers go up from call to call.
    pub(super) fn insert(&mut self, number: u64, sent: Sent) {
        if self.row.is_empty() {
            self.first = number;
        }
        // Messages to leave have numbers, too.
        while self.first + (self.row.len() as u64) < number {
            self.row.push_back(None);
        }
        self.row.push_back(Some(sent));
        self.open += 1;
    }

    /// Takes a job out.
    pub(super) fn remove(&mut self, number: u64) -> Option<Sent> {
        let Some(index) = number.checked_sub(self.first) else { return self.aside.remove(&number) };
        let sent = self.row.get_mut(usize::try_from(index).ok()?)?.take()?;
        self.open -= 1;
        while self.row.len() > 4 * self.open + SLACK || matches!(self.row.front(), Some(None)) {
            if let Some(late) = self.row.pop_front().flatten() {
                self.aside.insert(self.first, late);
                self.open -= 1;
            }
            self.first += 1;
        }
        Some(sent)
    }

    /// How many jobs are out.
    pub(super) fn len(&self) -> usize {
        self.open + self.aside.len()
    }

    /// Is none out?
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The jobs, in the order in which they were sent.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.aside.values().chain(self.row.iter().flatten())
    }

    /// All jobs, in the order in which they were sent.
    pub(super) fn into_jobs(self) -> impl Iterator<Item = Sent> {
        self.aside.into_values().chain(self.row.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::exception::Exception;
    use crate::modules::pool::{Answer, Errand};
    use crate::runtime::Thread;

    struct Nobody;

    impl Ticket for Nobody {
        fn begin(self: Arc<Self>, _: Option<&Arc<Thread>>) -> bool {
            true
        }

        fn finish(self: Arc<Self>, _: usize, _: Answer) -> Option<Errand> {
            None
        }

        fn abandon(self: Arc<Self>, _: usize, _: Option<&Exception>) {}

        fn excuse(&self) {}
    }

    fn sent(part: usize) -> Sent {
        Sent { ticket: Arc::new(Nobody), part }
    }

    #[test]
    fn jobs_come_out_by_number_and_once() {
        let mut outbox = Outbox::default();
        // Some numbers are taken by messages that are no jobs.
        for number in (0..1000).filter(|n| n % 7 != 3) {
            outbox.insert(number, sent(number as usize));
        }
        for number in (0..1000).rev().filter(|n| n % 2 == 0) {
            assert_eq!(outbox.remove(number).map(|s| s.part as u64), (number % 7 != 3).then_some(number));
            assert!(outbox.remove(number).is_none());
        }
        assert!(outbox.remove(1000).is_none());
        let left: Vec<usize> = outbox.into_jobs().map(|s| s.part).collect();
        assert_eq!(left, (0..1000).filter(|n| n % 7 != 3 && n % 2 == 1).collect::<Vec<_>>());
    }

    /// Jobs that take for ever among a million short ones take no room for those.
    #[test]
    fn late_jobs_keep_no_others() {
        let mut outbox = Outbox::default();
        for number in 0..100_000_u64 {
            outbox.insert(number, sent(number as usize));
            if number % 10_000 > 0 {
                assert_eq!(outbox.remove(number).map(|s| s.part as u64), Some(number));
            }
            assert!(outbox.row.len() <= 2 * SLACK, "{}", outbox.row.len());
        }
        assert_eq!(outbox.len(), 10);
        for number in 0..10 {
            assert!(outbox.remove(number * 10_000).is_some());
        }
        assert!(outbox.is_empty());
    }
}
