//! What the state of a replication channel means.

use std::time::Duration;

use super::{Channel, FailureKind, ThreadState};

/// `ER_REPLICA_RELAY_LOG_WRITE_FAILURE`, before and since 8.0.
const RELAY_LOG_NOT_WRITTEN: [u32; 2] = [1595, 13122];
/// What a receiver says that was greeted by its source and could not log in: the handshake, TLS, or the
/// account's plugin failed (`CR_SERVER_HANDSHAKE_ERR`, `CR_SSL_CONNECTION_ERROR`, `CR_SECURE_AUTH`,
/// `CR_AUTH_PLUGIN_CANNOT_LOAD`, `CR_AUTH_PLUGIN_ERR`).
const AFTER_THE_GREETING: [u32; 5] = [2012, 2026, 2049, 2059, 2061];
/// What only a source says, and that ends a receiver: it has not what the receiver asks for
/// (`ER_MASTER_FATAL_ERROR_READING_BINLOG`, before and since MySQL 8.0).
const TURNED_DOWN: [u32; 2] = [1236, 13114];
/// What a receiver says that did not reach its source, or lost it (`CR_CONNECTION_ERROR`,
/// `CR_CONN_HOST_ERROR`, `CR_UNKNOWN_HOST`, `CR_SERVER_GONE_ERROR`, `CR_SERVER_LOST`).
const NOT_REACHED: [u32; 5] = [2002, 2003, 2005, 2006, 2013];
/// A receiver that gives up within this, gives up soon: sources are away for longer at times.
const GIVES_UP_SOON: Duration = Duration::from_secs(60 * 60);

impl Channel {
    /// Whether the receiver stops for good when its source is away for less than an hour.
    pub fn gives_up_soon(&self) -> bool {
        self.connect_tries.is_some_and(|tries| {
            tries > 0 && tries.saturating_mul(self.connect_pause_seconds) < GIVES_UP_SOON.as_secs()
        })
    }

    /// Whether both threads run.
    pub fn is_running(&self) -> bool {
        self.receiver == ThreadState::Running && self.applier == ThreadState::Running
    }

    /// Whether the receiver hears of its source: it runs, or was told at its newest try to connect
    /// that it is not let in, or got far enough to fail at logging in. Nobody who is gone says no.
    pub fn hears_source(&self) -> bool {
        use FailureKind::{AccessDenied, Tls, TooManyConnections};
        match self.receiver {
            ThreadState::Running => true,
            ThreadState::Other => {
                let number = self.receiver_error.number;
                matches!(FailureKind::of_code(number), AccessDenied | TooManyConnections | Tls)
                    || AFTER_THE_GREETING.contains(&number)
            }
            ThreadState::Stopped | ThreadState::Absent => false,
        }
    }

    /// Whether the receiver stopped because its source has not what it asked for.
    pub fn was_turned_down(&self) -> bool {
        self.receiver == ThreadState::Stopped && TURNED_DOWN.contains(&self.receiver_error.number)
    }

    /// Whether the receiver ended over an error that is no silence of its source: it tells nothing of that
    /// any more. One that has used up its tries to connect still says that it could not.
    pub fn has_given_up(&self) -> bool {
        let number = self.receiver_error.number;
        self.receiver == ThreadState::Stopped && number != 0 && !NOT_REACHED.contains(&number)
    }

    /// Whether the receiver tries to connect, and nothing came of that yet.
    pub fn is_connecting(&self) -> bool {
        self.receiver == ThreadState::Other && self.receiver_error.number == 0
    }

    /// Whether the receiver stopped because it could not write its relay log.
    pub fn could_not_write_relay_log(&self) -> bool {
        self.receiver == ThreadState::Stopped
            && RELAY_LOG_NOT_WRITTEN.contains(&self.receiver_error.number)
    }
}
