//! How a node of a raft is set up by the configuration.

use std::net::{TcpListener, ToSocketAddrs};
use std::sync::Arc;

use anyhow::Context;
use baton_actors::clock::Clock;
use baton_actors::raft::{Compaction, Connect, Encrypted, Keys, Plain, RaftSetup, Secret, Timing};
use rustls::version::TLS13;

use super::tls::{Identity, peer_tls_of, server_tls_of};
use super::unverified;
use crate::config::{self, Config, Loaded, RaftChannel, RaftSecret, RaftTiming};

/// The node this configuration makes, if it makes one. Listens to its peers from here on.
///
/// # Errors
/// When a file cannot be read, the folder cannot be made, or the address cannot be listened on.
pub fn raft_setup(loaded: &Loaded, clock: Arc<dyn Clock>) -> anyhow::Result<Option<RaftSetup>> {
    let config = &loaded.config;
    let raft = &config.raft;
    if !raft.enabled {
        return Ok(None);
    }
    let folder = raft.data_folder.clone().context("RaftDataDir is needed")?;
    baton_schema::private::create_folder(&folder)
        .with_context(|| format!("RaftDataDir: cannot make the folder {}", folder.display()))?;
    let (tls, connect) = channel(&raft.channel)?;
    let secret = secret(config)?;
    let keys = match &raft.secret {
        // It is another one at each start, and nobody else has it.
        RaftSecret::None => Keys::new(secret),
        _ => Keys::kept_in(&folder, secret, Arc::clone(&clock)),
    };
    let api = api(config)?;
    Ok(Some(RaftSetup {
        folder,
        name: raft.advertise.clone(),
        seats: raft.nodes.clone(),
        listener: listener(&raft.bind)?,
        tls,
        connect,
        keys,
        api,
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        clock,
        shared_keys: loaded.shared_keys(),
        kept_alone: super::kept_alone(config)?,
        timing: match raft.timing {
            RaftTiming::Near => Timing::NEAR,
            RaftTiming::Far => Timing::FAR,
        },
        compaction: Compaction::default(),
    }))
}

fn listener(bind: &str) -> anyhow::Result<TcpListener> {
    let mut addresses =
        bind.to_socket_addrs().with_context(|| format!("RaftBind: cannot resolve {bind}"))?;
    let address = addresses.next().with_context(|| format!("RaftBind: {bind} has no address"))?;
    TcpListener::bind(address).with_context(|| format!("RaftBind: cannot listen on {address}"))
}

/// How peers are answered, and how they are reached.
type BothWays = (Option<Arc<rustls::ServerConfig>>, Arc<dyn Connect>);

fn channel(channel: &RaftChannel) -> anyhow::Result<BothWays> {
    let plain: Arc<dyn Connect> = Arc::new(Plain);
    let (server, client) = match channel {
        RaftChannel::PlainText => return Ok((None, plain)),
        RaftChannel::Made => unverified::made()?,
        RaftChannel::Given(files) if files.optional => {
            let identity = Identity::read(&as_http(files)).context("RaftTLSCertFile")?;
            unverified::with(Arc::new(identity))?
        }
        RaftChannel::Given(files) => {
            let files = as_http(files);
            let client = peer_tls_of(&files, &[&TLS13]).context("RaftTLSCertFile")?;
            let server = server_tls_of(&files, &[&TLS13]).context("RaftTLSCertFile")?;
            return Ok((Some(server), Arc::new(Encrypted::new(plain, client))));
        }
    };
    Ok((Some(server), Arc::new(Encrypted::to_anybody(plain, client))))
}

/// What the nodes of this configuration know each other by. Takes a moment, on purpose.
fn secret(config: &Config) -> anyhow::Result<Secret> {
    match &config.raft.secret {
        RaftSecret::Text(text) => Secret::new(text.reveal()).context("RaftSecret"),
        RaftSecret::File(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("RaftSecretFile: cannot read {}", path.display()))?;
            Secret::new(text.trim()).context("RaftSecretFile")
        }
        RaftSecret::Credentials => {
            let account = &config.connections.credentials;
            Secret::of_credentials(&account.user, account.password.reveal())
                .context("MySQLTopologyPassword")
        }
        // Nobody knows it, and nobody is to be let in.
        RaftSecret::None => Ok(Secret::of_nobody()),
    }
}

/// The secret of a configuration that was loaded again, if it can be used as this node was started:
/// what is made of a password is proven over TLS only.
///
/// # Errors
/// When it cannot be read.
pub fn raft_keys(started: &RaftChannel, now: &Config) -> anyhow::Result<Option<Secret>> {
    match (started, &now.raft.secret) {
        (_, RaftSecret::None) => Ok(None),
        (RaftChannel::PlainText, RaftSecret::Credentials) => Ok(None),
        _ if !now.raft.enabled => Ok(None),
        _ => secret(now).map(Some),
    }
}

/// Where peers and people reach the API of this node.
fn api(config: &Config) -> anyhow::Result<String> {
    if let Some(url) = &config.http.advertise {
        return Ok(url.clone());
    }
    let host = config.raft.advertise.rsplit_once(':').map_or("", |(host, _)| host);
    let scheme = if config.http.tls.is_some() { "https" } else { "http" };
    match &config.http.listen {
        config::Listen::Tcp { port, .. } => Ok(format!("{scheme}://{host}:{port}")),
        config::Listen::Unix(_) if config.raft.nodes.len() > 1 => {
            anyhow::bail!("HTTPAdvertise is needed: peers do not reach a ListenSocket")
        }
        config::Listen::Unix(_) => Ok(String::new()),
    }
}

/// Peers prove who they are as clients of an HTTP server do.
fn as_http(files: &config::RaftTls) -> config::HttpTls {
    config::HttpTls {
        private_key_file: files.private_key_file.clone(),
        certificate_file: files.certificate_file.clone(),
        ca_file: Some(files.ca_file.clone()),
        client_certificates: config::ClientCertificates::Required,
        valid_organizational_units: Vec::new(),
    }
}
