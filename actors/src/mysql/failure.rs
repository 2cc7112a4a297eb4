//! What went wrong, in words for people and kinds for metrics. Never credentials, never a
//! statement.

use std::error::Error as StdError;
use std::io;

use baton_topology::instance::{FailureKind, ProbeFailure};
use mysql_async::{DriverError, Error, IoError, ServerError};

use super::connection::TooLong;

/// What programs look for that knew the peer, where something took too long.
pub(super) const IO_TIMEOUT: &str = "i/o timeout";

/// Where in the conversation an error came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Reaching the server, TLS, authentication.
    Connecting,
    /// Afterwards.
    Talking,
}

/// Makes a failure of the driver's error.
pub(super) fn of(error: &Error, phase: Phase) -> ProbeFailure {
    match error {
        Error::Server(error) => of_server(error),
        Error::Driver(error) => of_driver(error),
        Error::Io(IoError::Io(error)) => of_io(error, phase),
        Error::Other(error) if error.is::<TooLong>() => {
            new(FailureKind::Protocol, error.to_string())
        }
        Error::Other(_) | Error::Url(_) => {
            new(FailureKind::Protocol, "the server's answer makes no sense".to_owned())
        }
    }
}

/// Makes a failure of a way to log in that the server asks for.
pub(super) fn of_plugin(name: &str) -> ProbeFailure {
    let message = match name {
        "mysql_old_password" | "mysql_clear_password" | "dialog" | "sha256_password" => {
            "the server asks for an unsafe kind of authentication".to_owned()
        }
        // Servers also ask for some odd method when there is no such account.
        _ => format!("the account is unknown or authenticates by {name}, which is not supported"),
    };
    new(FailureKind::AccessDenied, message)
}

/// Whether this process or machine has no file, buffer or memory left for a connection. That an address
/// cannot be assigned is no sign of that: so it is as well where a name has an IPv6 address and this
/// machine has none, and a dead server must be known as dead there.
pub(super) fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|error| lacks.contains(&error))
}

/// Whether a server's certificate is of a version that the library does not read where it verifies:
/// `openssl x509 -req` without extensions makes such.
fn is_certificate_unreadable(error: &io::Error) -> bool {
    format!("{error:?}").contains("UnsupportedCertVersion")
}

/// Makes a failure with nothing answered.
pub(super) fn new(kind: FailureKind, message: String) -> ProbeFailure {
    ProbeFailure { kind, partial: false, message }
}

/// Makes a failure of a server's refusal.
pub(super) fn of_server(error: &ServerError) -> ProbeFailure {
    new(FailureKind::of_code(error.code.into()), server_text(error))
}

/// What the server says, without the statement that a syntax error repeats.
pub(super) fn server_text(error: &ServerError) -> String {
    const ER_PARSE_ERROR: u16 = 1064;
    if error.code == ER_PARSE_ERROR {
        format!("error {ER_PARSE_ERROR}: the statement has a syntax error")
    } else {
        format!("error {}: {}", error.code, error.message)
    }
}

fn of_driver(error: &DriverError) -> ProbeFailure {
    match error {
        DriverError::ConnectionClosed => {
            new(FailureKind::ConnectionLost, "the connection broke".to_owned())
        }
        _ => nonsense(),
    }
}

/// Makes a failure of an error on the way to or from the server.
pub(super) fn of_io(error: &io::Error, phase: Phase) -> ProbeFailure {
    if is_ours(error) {
        let message = format!("baton cannot connect: {error}");
        return new(FailureKind::Local, message);
    }
    if is_certificate_unreadable(error) {
        return new(
            FailureKind::Tls,
            "TLS failed: the server's certificate is of X.509 version 1, which cannot be verified; make \
             it one of version 3 (openssl x509 -req with -extfile)"
                .to_owned(),
        );
    }
    if is_tls(error) {
        return new(FailureKind::Tls, format!("TLS failed: {error}"));
    }
    if is_truncated(error) {
        return nonsense();
    }
    match (error.kind(), phase) {
        // A resolver that knows no such name says so in words only.
        (_, Phase::Connecting) if error.to_string().contains("failed to lookup address") => {
            new(FailureKind::Connect, format!("cannot connect: {error}: no such host"))
        }
        (io::ErrorKind::TimedOut, Phase::Connecting) => {
            new(FailureKind::Timeout, format!("the host does not answer: {IO_TIMEOUT}"))
        }
        (
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::TimedOut,
            _,
        ) => new(FailureKind::ConnectionLost, "the server closed the connection".to_owned()),
        (io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other, _) => {
            nonsense()
        }
        (_, Phase::Connecting) => new(FailureKind::Connect, format!("cannot connect: {error}")),
        (_, Phase::Talking) => {
            new(FailureKind::ConnectionLost, format!("the connection broke: {error}"))
        }
    }
}

fn nonsense() -> ProbeFailure {
    new(FailureKind::Protocol, "the server does not speak MySQL's protocol".to_owned())
}

/// A packet too short for what it should hold has the same kind as the end of the connection;
/// the driver tells them apart by text only.
fn is_truncated(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        && error.get_ref().is_some_and(|inner| inner.to_string().starts_with("can't parse"))
}

/// The TLS library hides its errors inside those of the network.
fn is_tls(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = error.get_ref().map(|inner| inner as _);
    // A chain of causes is short; the limit is against one that bites its tail.
    for _ in 0..8 {
        match cause {
            Some(error) if error.is::<rustls::Error>() => return true,
            Some(error) => cause = error.source(),
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, message: &str) -> Error {
        Error::Server(ServerError { code, message: message.to_owned(), state: "HY000".to_owned() })
    }

    #[test]
    fn what_this_machine_lacks_says_nothing_of_a_server_and_an_address_it_has_not_does() {
        use rustix::io::Errno;
        for (error, kind) in [
            (Errno::MFILE, FailureKind::Local),
            (Errno::NOBUFS, FailureKind::Local),
            (Errno::ADDRNOTAVAIL, FailureKind::Connect),
            (Errno::CONNREFUSED, FailureKind::Connect),
        ] {
            let failure = of_io(&io::Error::from(error), Phase::Connecting);
            assert_eq!(failure.kind, kind, "{error}");
        }
    }

    #[test]
    fn every_failure_has_its_kind() {
        let io = |kind: io::ErrorKind| Error::from(io::Error::from(kind));
        for (error, phase, kind) in [
            (server(1045, "denied"), Phase::Connecting, FailureKind::AccessDenied),
            (server(1698, "denied"), Phase::Connecting, FailureKind::AccessDenied),
            (server(1040, "full"), Phase::Connecting, FailureKind::TooManyConnections),
            (server(1203, "full"), Phase::Connecting, FailureKind::TooManyConnections),
            (server(3032, "offline mode"), Phase::Connecting, FailureKind::AccessDenied),
            (server(4151, "locked"), Phase::Connecting, FailureKind::AccessDenied),
            (server(1135, "no thread"), Phase::Connecting, FailureKind::TooManyConnections),
            (server(1227, "privilege"), Phase::Talking, FailureKind::Query),
            (server(1053, "shutdown"), Phase::Talking, FailureKind::ConnectionLost),
            (server(3159, "tls"), Phase::Connecting, FailureKind::Tls),
            (io(io::ErrorKind::ConnectionRefused), Phase::Connecting, FailureKind::Connect),
            (io(io::ErrorKind::UnexpectedEof), Phase::Talking, FailureKind::ConnectionLost),
            (io(io::ErrorKind::InvalidData), Phase::Connecting, FailureKind::Protocol),
            (
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    rustls::Error::General("bad certificate".to_owned()),
                )
                .into(),
                Phase::Connecting,
                FailureKind::Tls,
            ),
        ] {
            assert_eq!(of(&error, phase).kind, kind, "{error}");
        }
    }

    #[test]
    fn programs_find_the_words_they_look_for() {
        let unknown = io::Error::other("failed to lookup address information: Name not known");
        for (error, expected) in
            [(io::Error::from(io::ErrorKind::TimedOut), "i/o timeout"), (unknown, "no such host")]
        {
            let found = of(&error.into(), Phase::Connecting).message;
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn a_syntax_error_does_not_repeat_the_statement() {
        let error = server(1064, "You have an error near 'IDENTIFIED BY \"hunter2\"'");
        assert!(!of(&error, Phase::Talking).message.contains("hunter2"));
    }
}
