//! Why a look at a server failed, and whether that is an answer.

use serde::{Deserialize, Serialize};

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeFailure {
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// Whether the server answered at least the basic questions in this probe.
    pub partial: bool,
    /// What a person reads: never contains credentials.
    pub message: String,
}

impl ProbeFailure {
    /// Whether the server said so itself: then somebody is there, even if the answer is no.
    pub fn is_answer(&self) -> bool {
        self.partial || self.kind.is_answer()
    }

    /// Whether the server was asked, or could not be reached, and said nothing.
    pub fn is_silence(&self) -> bool {
        !self.is_answer() && self.kind != FailureKind::Local
    }
}

/// The kinds of probe failure, as metrics count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FailureKind {
    /// Nobody listens, or the host cannot be reached, or its name is unknown.
    Connect,
    /// The connection broke.
    ConnectionLost,
    /// No answer in time.
    Timeout,
    /// The server refused the credentials.
    AccessDenied,
    /// The server has no connection left for us.
    TooManyConnections,
    /// TLS could not be agreed.
    Tls,
    /// The server answered something that is not MySQL's protocol, or not what was asked.
    Protocol,
    /// The server refused a statement.
    Query,
    /// baton could not ask: it has no open file or memory left. Says nothing of the server.
    Local,
    /// It asks for the password and shows another certificate than before, verified by no authority: it
    /// is not logged in to until a person confirms that.
    CertificateChanged,
    /// It offered TLS before and does not any more: it is not logged in to until a person confirms that.
    TlsWithdrawn,
}

impl FailureKind {
    /// All kinds, in declaration order.
    pub const ALL: [Self; 11] = [
        Self::Connect,
        Self::ConnectionLost,
        Self::Timeout,
        Self::AccessDenied,
        Self::TooManyConnections,
        Self::Tls,
        Self::Protocol,
        Self::Query,
        Self::Local,
        Self::CertificateChanged,
        Self::TlsWithdrawn,
    ];

    /// The label metrics and logs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectionLost => "connection_lost",
            Self::Timeout => "timeout",
            Self::AccessDenied => "access_denied",
            Self::TooManyConnections => "too_many_connections",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Query => "query",
            Self::Local => "local",
            Self::CertificateChanged => "certificate_changed",
            Self::TlsWithdrawn => "tls_withdrawn",
        }
    }

    /// Whether it is something that a server says, and not that none did.
    pub const fn is_answer(self) -> bool {
        !matches!(self, Self::Connect | Self::ConnectionLost | Self::Timeout | Self::Local)
    }

    /// The kind of an error that a server sent.
    pub const fn of_code(code: u32) -> Self {
        match code {
            // Wrong password, no such database, host blocked, host not allowed, plugin not supported,
            // plugin refuses, account locked (MySQL, MariaDB), password expired, too many wrong
            // passwords (MySQL, MariaDB), offline mode.
            1044 | 1045 | 1129 | 1130 | 1251 | 1524 | 1698 | 1820 | 1862 | 3032 | 3118 | 3955
            | 4150 | 4151 => Self::AccessDenied,
            // Of the server, of this account, and no thread or memory for one more.
            1040 | 1203 | 1226 | 1041 | 1135 => Self::TooManyConnections,
            // The server insists on TLS.
            3159 => Self::Tls,
            // Shutdown, killed, killed by its own limit, closed for inactivity.
            1053 | 1152 | 1184 | 1927 | 3169 | 4031 => Self::ConnectionLost,
            _ => Self::Query,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_says_no_has_answered() {
        use FailureKind::*;
        for (code, kind) in [
            (1045, AccessDenied),
            (3032, AccessDenied),
            (3118, AccessDenied),
            (4151, AccessDenied),
            (1820, AccessDenied),
            (1040, TooManyConnections),
            (1226, TooManyConnections),
            (3159, Tls),
            (1146, Query),
            (1053, ConnectionLost),
            (1927, ConnectionLost),
        ] {
            assert_eq!(FailureKind::of_code(code), kind, "{code}");
            assert_eq!(kind.is_answer(), kind != ConnectionLost, "{code}");
        }
        assert!(!Connect.is_answer() && !Timeout.is_answer() && Protocol.is_answer());
        let half = ProbeFailure { kind: Timeout, partial: true, message: String::new() };
        assert!(half.is_answer() && !half.is_silence());
        let of = |kind| ProbeFailure { kind, partial: false, message: String::new() };
        assert!(of(Connect).is_silence() && !of(AccessDenied).is_silence());
        assert!(!of(Local).is_silence() && !of(Local).is_answer(), "says nothing of the server");
    }
}
