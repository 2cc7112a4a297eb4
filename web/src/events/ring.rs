//! The newest events, ready to be sent, within limits.

use std::collections::VecDeque;

use actix_web::web::Bytes;

/// No more events are kept.
pub(super) const EVENTS_MAX: usize = 1_024;
/// Nor more bytes of them.
pub(super) const BYTES_MAX: usize = 4 << 20;

/// The newest events, numbered without gaps.
#[derive(Debug, Default)]
pub(super) struct Ring {
    events: VecDeque<Bytes>,
    bytes: usize,
    /// The number of the newest event there ever was.
    newest: u64,
}

impl Ring {
    /// The number of the newest event there ever was.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// The number the next event gets.
    pub(super) fn next(&self) -> u64 {
        self.newest.saturating_add(1)
    }

    /// Adds an event, which has the number [`Ring::next`] told, and lets go of the oldest ones.
    pub(super) fn push(&mut self, event: Bytes) {
        self.newest = self.next();
        self.bytes += event.len();
        self.events.push_back(event);
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }

    /// Lets go of all events: whoever knows only older ones has to begin anew.
    pub(super) fn cut(&mut self) {
        self.events.clear();
        self.bytes = 0;
        self.newest = self.next();
    }

    /// The event after this number, with its own; an error when that is not known any more, or
    /// never was.
    pub(super) fn after(&self, number: u64) -> Result<Option<(u64, Bytes)>, TooOld> {
        if number == self.newest {
            return Ok(None);
        }
        let behind = self.newest.checked_sub(number).ok_or(TooOld)?;
        let behind = usize::try_from(behind).map_err(|_| TooOld)?;
        let index = self.events.len().checked_sub(behind).ok_or(TooOld)?;
        let event = self.events.get(index).cloned().ok_or(TooOld)?;
        Ok(Some((number.saturating_add(1), event)))
    }
}

/// What happened since is not known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooOld;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: usize) -> Bytes {
        Bytes::from(vec![b'x'; bytes])
    }

    #[test]
    fn readers_go_on_where_they_were() {
        let mut ring = Ring::default();
        assert_eq!(ring.after(0), Ok(None), "nothing happened yet");
        ring.push(Bytes::from("one"));
        ring.push(Bytes::from("two"));
        assert_eq!(ring.after(0), Ok(Some((1, Bytes::from("one")))));
        assert_eq!(ring.after(1), Ok(Some((2, Bytes::from("two")))));
        assert_eq!(ring.after(2), Ok(None));
        assert_eq!(ring.after(3), Err(TooOld), "that is from somewhere else");
        ring.cut();
        assert_eq!(ring.after(2), Err(TooOld), "something may have been missed since");
        assert_eq!(ring.after(3), Ok(None));
    }

    #[test]
    fn it_never_grows_beyond_its_limits() {
        let mut ring = Ring::default();
        for _ in 0..3 * EVENTS_MAX {
            ring.push(event(10));
        }
        assert_eq!(ring.events.len(), EVENTS_MAX);
        assert_eq!(ring.after(ring.newest() - EVENTS_MAX as u64 - 1), Err(TooOld));
        assert!(ring.after(ring.newest() - EVENTS_MAX as u64).is_ok());
        for _ in 0..10 {
            ring.push(event(BYTES_MAX / 3));
        }
        assert_eq!((ring.events.len(), ring.bytes <= BYTES_MAX), (3, true));
        ring.push(event(2 * BYTES_MAX));
        assert_eq!((ring.events.len(), ring.bytes), (0, 0), "nobody gets that one");
    }
}
