//! The log and the vote, as openraft wants them.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use openraft::OptionalSend;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use super::disk::{Disk, decode, encode};
use super::types::{Entry, LogId, Types, Vote};

/// What is read to be sent in one go, as long as it is more than one entry.
const READ_BYTES_MAX: usize = 4 << 20;

/// The log of this node. Clones share it.
#[derive(Clone)]
pub(super) struct LogStore {
    disk: Disk,
}

impl LogStore {
    /// The log on a disk.
    pub(super) fn new(disk: Disk) -> Self {
        Self { disk }
    }

    async fn read(&self, from: u64, below: u64, bytes: usize) -> io::Result<Vec<Entry>> {
        let found = self.disk.ask(move |store| store.entries(from, below, bytes)).await?;
        found.iter().map(|(_, body)| self.entry(body)).collect()
    }

    /// One that a newer baton wrote ends this node: nobody may guess what it means.
    fn entry(&self, body: &[u8]) -> io::Result<Entry> {
        decode(body).inspect_err(|error| self.disk.failure().note(error))
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let below = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(below) => *below,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, below, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, READ_BYTES_MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let body = self.disk.ask(|store| store.vote()).await?;
        body.map(|body| decode(&body)).transpose()
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let (purged, last) = self.disk.ask(|store| Ok((store.purged()?, store.last()?))).await?;
        let last_purged_log_id: Option<LogId> = purged.map(|body| decode(&body)).transpose()?;
        let last: Option<Entry> = last.map(|(_, body)| self.entry(&body)).transpose()?;
        let last_log_id = last.map(|entry| entry.log_id()).or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let body = encode(vote)?;
        self.disk.ask(move |store| store.save_vote(&body)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let body = committed.map(|committed| encode(&committed)).transpose()?;
        self.disk.ask(move |store| store.save_committed(body.as_deref())).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let body = self.disk.ask(|store| store.committed()).await?;
        body.map(|body| decode(&body)).transpose()
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: io::Result<Vec<_>> =
            entries.into_iter().map(|entry| Ok((entry.log_id().index, encode(&entry)?))).collect();
        self.disk.append(entries?, callback).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let from = last_log_id.map_or(0, |last| last.index.saturating_add(1));
        self.disk.ask(move |store| store.truncate(from)).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let mark = encode(&log_id)?;
        self.disk.ask(move |store| store.purge(log_id.index, &mark)).await
    }
}
