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
    let secret = Material::of(config)?.key()?;
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

/// What the key of the nodes of a configuration is made of.
#[derive(Clone, PartialEq, Eq)]
enum Material {
    /// A secret of their own, and the key that says so.
    Text(String, &'static str),
    /// User and password of the account for the watched servers.
    Account(String, String),
    /// Nothing: nobody else is to be let in.
    Nothing,
}

impl Material {
    fn of(config: &Config) -> anyhow::Result<Self> {
        Ok(match &config.raft.secret {
            RaftSecret::Text(text) => Self::Text(text.reveal().to_owned(), "RaftSecret"),
            RaftSecret::File(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("RaftSecretFile: cannot read {}", path.display()))?;
                Self::Text(text.trim().to_owned(), "RaftSecretFile")
            }
            RaftSecret::Credentials => {
                let account = &config.connections.credentials;
                Self::Account(account.user.clone(), account.password.reveal().to_owned())
            }
            RaftSecret::None => Self::Nothing,
        })
    }

    /// The key. Takes a moment, on purpose.
    fn key(&self) -> anyhow::Result<Secret> {
        match self {
            Self::Text(text, from) => Secret::new(text).context(*from),
            Self::Account(user, password) => {
                Secret::of_credentials(user, password).context("MySQLTopologyPassword")
            }
            Self::Nothing => Ok(Secret::of_nobody()),
        }
    }
}

/// The key of a node whose configuration is loaded again and again.
pub struct RaftKey {
    /// What is made of a password is proven over TLS only.
    is_plain_text: bool,
    /// What it is made of now.
    material: Option<Material>,
}

impl RaftKey {
    /// That of a node that was started with this configuration.
    pub fn of(config: &Config) -> Self {
        let is_plain_text = matches!(config.raft.channel, RaftChannel::PlainText);
        Self { is_plain_text, material: Material::of(config).ok() }
    }

    /// The key of a configuration that was loaded again, if it is another one and can be used as this
    /// node was started. It counts as the one there is once [`RaftKey::keep`] was called.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn renewed(&self, now: &Config) -> anyhow::Result<Option<Renewed>> {
        let is_of_use = match &now.raft.secret {
            RaftSecret::None => false,
            RaftSecret::Credentials => !self.is_plain_text,
            RaftSecret::Text(_) | RaftSecret::File(_) => true,
        };
        if !now.raft.enabled || !is_of_use {
            return Ok(None);
        }
        let material = Material::of(now)?;
        if self.material.as_ref() == Some(&material) {
            return Ok(None);
        }
        Ok(Some(Renewed { secret: material.key()?, material }))
    }

    /// The key from now on.
    pub fn keep(&mut self, renewed: Renewed) -> Secret {
        self.material = Some(renewed.material);
        renewed.secret
    }
}

/// A key that is not in use yet.
pub struct Renewed {
    secret: Secret,
    material: Material,
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

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;
    use crate::config::Sources;

    fn config(name: &str, value: &str) -> Config {
        let settings = [
            ("BATON_RAFTENABLED", "true"),
            ("BATON_RAFTDATADIR", "/d"),
            ("BATON_RAFTBIND", "127.0.0.1"),
            (name, value),
        ];
        let env = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let sources = Sources { explicit_file: None, extra_file: None, env };
        let read = |_: &std::path::Path| Err(Error::from(ErrorKind::NotFound));
        config::load_with(&sources, &read).unwrap().config
    }

    #[test]
    fn a_key_is_made_again_only_of_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write("open sesame\n");
        let config = config("BATON_RAFTSECRETFILE", &file.to_string_lossy());
        let mut key = RaftKey::of(&config);
        assert!(key.renewed(&config).unwrap().is_none(), "nothing changed");
        write("open barley\n");
        let renewed = key.renewed(&config).unwrap().expect("the file says something else");
        assert!(key.renewed(&config).unwrap().is_some(), "it was not put in force");
        assert_eq!(key.keep(renewed), Secret::new("open barley").unwrap());
        assert!(key.renewed(&config).unwrap().is_none());
        write(" ");
        assert!(key.renewed(&config).is_err(), "an empty one is none");
        let text = super::tests::config("BATON_RAFTSECRET", "open sesame");
        assert!(key.renewed(&text).unwrap().is_some());
    }
}
