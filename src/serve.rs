//! Runs the service: loads the configuration, starts the parts, reloads and ends on signals.

mod announcer;
mod descriptors;
mod names;
mod seat;
mod service;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use baton_web::services::Reload;
use tokio::signal::unix::{SignalKind, signal};

use self::service::Service;
use crate::config::{self, Loaded, Sources};
use crate::{telemetry, wiring};

/// What is logged when nobody says: not how the HTTP server starts its threads, nor each vote.
const DEFAULT_LEVEL: &str = "info,actix_server=warn,openraft=error";

/// How long a clean end may take before the process ends anyway.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

/// What the command line says about the service.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// The only configuration file; the search path when `None`.
    pub config: Option<PathBuf>,
    /// Instances to begin with, `host[:port]`.
    pub discover: Vec<String>,
    /// The account on watched servers.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<config::Secret>,
    /// Where to listen.
    pub listen: Option<String>,
    /// The log level.
    pub log_level: Option<String>,
}

impl ServeOptions {
    /// Where the configuration comes from: options of the command line go before the environment,
    /// as if they were variables.
    fn sources(&self) -> Sources {
        let mut sources = Sources::of_process(self.config.clone());
        let password = self.password.as_ref().map(|password| password.reveal().to_owned());
        let overrides = [
            ("BATON_MYSQLTOPOLOGYUSER", &self.user),
            ("BATON_MYSQLTOPOLOGYPASSWORD", &password),
            ("BATON_LISTENADDRESS", &self.listen),
        ];
        for (name, value) in overrides {
            if let Some(value) = value {
                sources.env.insert(name.to_owned(), value.clone());
            }
        }
        sources
    }
}

/// Runs until told to end.
///
/// # Errors
/// When the configuration is wrong, the store cannot be opened, or the address cannot be listened
/// on; under raft also when this node cannot take part any more. Nothing else ends the service.
pub fn serve(options: &ServeOptions) -> anyhow::Result<()> {
    let loaded = config::load(&options.sources())?;
    let default_level = if loaded.config.process.debug { "debug" } else { DEFAULT_LEVEL };
    telemetry::init(&telemetry::Level::of_process(options.log_level.clone()), default_level)?;
    let store = wiring::backend_name(&loaded.config);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), store, "baton starts");
    warn_of(&loaded);
    actix_rt::System::new().block_on(run(options.clone(), loaded))
}

async fn run(options: ServeOptions, loaded: Loaded) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let service = Service::start(&options, loaded).await?;
    let mut lost = std::pin::pin!(service.lost());
    let why = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            why = &mut lost => break Some(why),
            _ = hang_up.recv() => {
                // What went wrong is logged there; the old configuration stays in force.
                let _ = service.reloader.reload(None);
            }
        }
    };
    tracing::info!("ending");
    service.hand_over().await;
    if tokio::time::timeout(SHUTDOWN_DEADLINE, service.stop()).await.is_err() {
        tracing::warn!("some parts did not end in time");
    }
    why.map_or(Ok(()), |why| Err(anyhow::anyhow!(why)))
}

fn warn_of(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!(target: "baton::config", "{warning}");
    }
    if let Some(notice) = loaded.config.recovery.nothing_is_recovered() {
        tracing::warn!(target: "baton::config", "{notice}");
    }
    if let Some(notice) = loaded.config.account_at_risk() {
        tracing::warn!(target: "baton::config", "{notice}");
    }
    if let Some(notice) = loaded.config.raft_at_risk() {
        tracing::warn!(target: "baton::config", "{notice}");
    }
}
