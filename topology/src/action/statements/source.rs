//! What is said to a replica about its source.
//!
//! A server that is told another host forgets where it was in the old one's log, so that place is
//! said again wherever it counts. TLS options and keys it keeps, but they are said again too: a
//! replica must never fall back to an open connection because a version reads this differently. That
//! there is none is said too, and then the source's public key is asked for: an account that the old
//! source knew from before has to prove itself anew at another one. A receiver that gives up, or
//! leaves for another source of a list, would not stay where it is put: it is told not to.
//! The heartbeat period falls back to its default (in MariaDB whatever is changed), so it is said
//! again where it is known. The delay stays until it is changed or replication is reset, as filters do.

use super::text::{Options, Statement, quoted};
use super::{Words, seconds};
use crate::action::Place;
use crate::binlog::BinlogCoordinates;
use crate::instance::{Channel, ChannelTls, Positioning, SourceLink, ThreadState};
use crate::key::InstanceKey;

/// How often a receiver tries to connect before it gives up: for months, as all did before 8.4.
const CONNECT_TRIES: u32 = 86_400;
/// Why nothing is done under file positions while threads run: what the facts tell is outdated.
const THREADS_RUN: &str = "both threads have to stand still";

impl Words<'_> {
    pub(super) fn change_source(
        &self,
        to: &InstanceKey,
        place: &Place,
    ) -> Result<Statement, String> {
        let channel = self.facts.main_channel();
        let mut options = self.options();
        options.string("HOST", to.host());
        options.number("PORT", to.port());
        // A channel without a user may be one that a certificate is enough for.
        let lacks_user = channel.is_none_or(|channel| channel.user.is_empty());
        let credentials = self.options.credentials.as_ref().filter(|_| lacks_user);
        if let Some(credentials) = credentials {
            options.string("USER", &credentials.user);
            options.secret("PASSWORD", &credentials.password);
        } else if channel.is_none_or(|channel| lacks_user && channel.source == SourceLink::None) {
            return Err("it has no credentials for replication, and none are at hand".into());
        }
        match place {
            Place::Same => self.same_place(channel, &mut options)?,
            Place::Gtid => self.by_gtid(channel, &mut options)?,
            Place::File(at) => {
                put_place(at, &mut options)?;
                if self.is_mariadb {
                    options.word("USE_GTID", "no");
                } else {
                    options.number("AUTO_POSITION", 0u8);
                }
            }
        }
        let kept = channel.map(|it| &it.tls);
        let tls = credentials.map(|it| &it.tls).or(kept).cloned().unwrap_or_default();
        // A replica tells whether it uses TLS. A configured query may only tell that it does: else
        // that is left to the server, and newer ones do.
        let is_known = credentials.is_none() || tls.verify_server_cert.is_some();
        if !tls.enabled && is_known {
            options.number("SSL", 0u8);
        }
        self.put_tls(&reachable(&tls), &mut options);
        self.stay(channel, &mut options);
        Ok(self.change(options))
    }

    pub(super) fn renew_credentials(&self) -> Result<Statement, String> {
        let credentials = self.options.credentials.as_ref();
        let credentials = credentials.ok_or("no credentials for replication are configured")?;
        self.link()?;
        let kept = self.facts.main_channel().map(|channel| channel.tls.clone());
        let mut options = self.options();
        options.string("USER", &credentials.user);
        options.secret("PASSWORD", &credentials.password);
        let tls = laid_over(&credentials.tls, kept.unwrap_or_default());
        self.put_tls(&reachable(&tls), &mut options);
        Ok(self.change(options))
    }

    /// `None` when it is detached already.
    pub(super) fn detach(&self) -> Result<Option<Statement>, String> {
        match self.link()? {
            SourceLink::Attached(source) => {
                let host = format!("{}{}", SourceLink::DETACHED_PREFIX, source.host());
                self.rename_source(&host).map(Some)
            }
            SourceLink::Detached(_) | SourceLink::None => Ok(None),
        }
    }

    /// `None` when it is not detached.
    pub(super) fn reattach(&self) -> Result<Option<Statement>, String> {
        match self.link()? {
            SourceLink::Detached(source) => self.rename_source(source.host()).map(Some),
            SourceLink::Attached(_) | SourceLink::None => Ok(None),
        }
    }

    pub(super) fn set_delay(&self, seconds: u32) -> Statement {
        let mut options = self.options();
        options.number("DELAY", seconds);
        self.change(options)
    }

    fn link(&self) -> Result<&SourceLink, String> {
        match self.facts.main_channel().map(|channel| &channel.source) {
            None | Some(SourceLink::None) => Err("it replicates from nobody".into()),
            Some(link) => Ok(link),
        }
    }

    fn rename_source(&self, host: &str) -> Result<Statement, String> {
        let channel = self.facts.main_channel();
        let mut options = self.options();
        options.string("HOST", host);
        self.same_place(channel, &mut options)?;
        self.stay(channel, &mut options);
        Ok(self.change(options))
    }

    /// The receiver stays with the source it is given.
    fn stay(&self, channel: Option<&Channel>, options: &mut Options) {
        if self.is_mariadb {
            return;
        }
        let is_settled = self.facts.leaves_its_source == Some(false);
        if self.since(8, 0, 23) && channel.is_some() && !is_settled {
            options.number("CONNECTION_AUTO_FAILOVER", 0u8);
        }
        if channel.is_none_or(Channel::gives_up_soon) {
            options.number("RETRY_COUNT", CONNECT_TRIES);
        }
    }

    fn same_place(&self, channel: Option<&Channel>, options: &mut Options) -> Result<(), String> {
        let Some(channel) = channel else { return self.by_gtid(None, options) };
        if channel.positioning != Positioning::File {
            return Ok(());
        }
        let runs = |thread| matches!(thread, ThreadState::Running | ThreadState::Other);
        if runs(channel.receiver) || runs(channel.applier) {
            return Err(THREADS_RUN.into());
        }
        // What was received and not applied is dropped with the relay log, and read again.
        put_place(&channel.executed, options)
    }

    fn by_gtid(&self, channel: Option<&Channel>, options: &mut Options) -> Result<(), String> {
        if !self.is_mariadb {
            if !self.facts.gtid.is_supported() {
                return Err("it does not use GTIDs: gtid_mode is OFF".into());
            }
            options.number("AUTO_POSITION", 1u8);
            return Ok(());
        }
        let attached = channel.filter(|channel| channel.source.attached().is_some());
        match attached {
            // Either position may be in use, and that is not ours to change.
            Some(channel) if channel.positioning == Positioning::MariaDbGtid => {}
            Some(_) => options.word("USE_GTID", "slave_pos"),
            // What it wrote itself as a primary is part of its place now; what it writes itself from here
            // on, such as for a FLUSH, is not: its source would not know that.
            None if self.may_be_demoted(channel) => {
                options.word("USE_GTID", "slave_pos");
                options.number("DEMOTE_TO_SLAVE", 1u8);
            }
            None => options.word("USE_GTID", "current_pos"),
        }
        Ok(())
    }

    /// Whether it was a primary until now, and can tell its place by its log: it has no channel at all, a
    /// binary log, and no other applier writes its place meanwhile.
    fn may_be_demoted(&self, channel: Option<&Channel>) -> bool {
        self.facts.version.is_mariadb_at_least(10, 10)
            && self.facts.binlog.enabled
            && channel.is_none()
            && self.facts.other_channels().next().is_none()
    }

    fn put_tls(&self, tls: &ChannelTls, options: &mut Options) {
        if tls.enabled {
            options.number("SSL", 1u8);
            for (name, value) in [
                ("SSL_CA", &tls.ca_file),
                ("SSL_CAPATH", &tls.ca_path),
                ("SSL_CERT", &tls.cert),
                ("SSL_CIPHER", &tls.cipher),
                ("SSL_CRL", &tls.crl_file),
                ("SSL_CRLPATH", &tls.crl_path),
                ("SSL_KEY", &tls.key),
            ] {
                options.string_if_any(name, value);
            }
            if let Some(is_verified) = tls.verify_server_cert {
                options.number("SSL_VERIFY_SERVER_CERT", u8::from(is_verified));
            }
            if !self.is_mariadb {
                options.string_if_any("TLS_VERSION", &tls.version);
            }
            if self.since(8, 0, 19) {
                options.string_if_any("TLS_CIPHERSUITES", &tls.ciphersuites);
            }
        }
        if self.since(8, 0, 4) {
            options.string_if_any("PUBLIC_KEY_PATH", &tls.public_key_path);
            if let Some(is_asked) = tls.get_public_key {
                options.number("GET_PUBLIC_KEY", u8::from(is_asked));
            }
        }
    }

    fn options(&self) -> Options {
        Options::new(self.prefix())
    }

    fn change(&self, mut options: Options) -> Statement {
        if let Some(period) = self.options.heartbeat {
            options.word("HEARTBEAT_PERIOD", &seconds(period));
        }
        let channel = quoted(self.channel);
        if self.is_mariadb {
            options.between(&format!("CHANGE MASTER {channel} TO "), "")
        } else if self.since(8, 0, 23) {
            options.between("CHANGE REPLICATION SOURCE TO ", &format!(" FOR CHANNEL {channel}"))
        } else {
            options.between("CHANGE MASTER TO ", &format!(" FOR CHANNEL {channel}"))
        }
    }
}

fn put_place(at: &BinlogCoordinates, options: &mut Options) -> Result<(), String> {
    if at.is_empty() {
        return Err("its place in the source's log is not known".into());
    }
    options.string("LOG_FILE", &at.file);
    options.number("LOG_POS", at.position);
    Ok(())
}

/// What a replica keeps, with the files that credentials bring along.
fn laid_over(brought: &ChannelTls, mut kept: ChannelTls) -> ChannelTls {
    kept.enabled |= brought.enabled;
    for (own, other) in [
        (&mut kept.ca_file, &brought.ca_file),
        (&mut kept.cert, &brought.cert),
        (&mut kept.key, &brought.key),
    ] {
        if !other.is_empty() {
            own.clone_from(other);
        }
    }
    kept
}

/// Without TLS, newer accounts can only be logged in to with the public key of the source. Whoever
/// did without was known to the old source.
fn reachable(tls: &ChannelTls) -> ChannelTls {
    let mut tls = tls.clone();
    if !tls.enabled && tls.public_key_path.is_empty() {
        tls.get_public_key = Some(true);
    }
    tls
}
