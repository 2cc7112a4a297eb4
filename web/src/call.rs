//! One request as handlers see it: parameters by name, instances and clusters people mean.

use std::sync::Arc;
use std::time::Duration;

use baton_actors::ports::{Applied, RecoverError};
use baton_topology::cluster::{Cluster, Member};
use baton_topology::history::NewAuditEntry;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::Command;
use baton_topology::recovery::Recovery;
use baton_topology::recovery::gate::{Request, Runner};
use baton_topology::search::{cluster_by_hint, fuzzy_match, target};
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;

use crate::asked::Requests;
use crate::auth::Verdict;
use crate::compat::{InstanceJson, NodeName};
use crate::events::{Events, Listener};
use crate::kept::Kept;
use crate::raft::Raft;
use crate::reply::Failure;
use crate::server::Display;
use crate::services::Services;

/// How long a change waits to be part of a published snapshot.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(2);

/// One request.
pub(crate) struct Call {
    pub(crate) services: Arc<Services>,
    /// The raft this node takes part in, if it does.
    pub(crate) raft: Option<Arc<Raft>>,
    /// The pattern of the route.
    pub(crate) route: &'static str,
    pub(crate) params: Vec<(&'static str, String)>,
    pub(crate) query: Vec<(String, String)>,
    /// Names and values of the request's headers.
    pub(crate) headers: Vec<(String, String)>,
    /// Who asks, where that is known.
    pub(crate) user: Option<String>,
    /// The same with address and way, for the audit.
    pub(crate) caller: String,
    /// Whose share of the streams of events it counts to.
    pub(crate) listener: Listener,
    /// Whether he may change anything.
    pub(crate) may_write: Verdict,
    /// What changes in the fleet.
    pub(crate) events: Arc<Events>,
    /// What the dashboard shows of its own.
    pub(crate) display: Arc<Display>,
    /// Who would take over where, as of a moment ago.
    pub(crate) readiness: Arc<Kept>,
    /// What became of requests that change something.
    pub(crate) requests: Arc<Requests>,
    /// What the client calls this one, if it gave it a name.
    pub(crate) name: Option<Arc<str>>,
    /// The newest fleet when the request came.
    pub(crate) fleet: Arc<FleetSnapshot>,
    pub(crate) now: Timestamp,
}

impl Call {
    /// A parameter of the path; empty when the route has none of that name.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    /// Whether the route has a parameter of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.params.iter().any(|(key, _)| *key == name)
    }

    /// A parameter of the query.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether whoever asks takes a compressed answer.
    pub(crate) fn takes_gzip(&self) -> bool {
        let accepted = self.headers.iter().filter(|(name, _)| name == "accept-encoding");
        let mut encodings = accepted.flat_map(|(_, value)| value.split(','));
        encodings.any(|it| matches!(it.split_once(';').unwrap_or((it, "")), (name, quality)
            if name.trim() == "gzip" && !matches!(quality.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")))
    }

    /// Whether it is only to be told what would be done.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.query("dry_run").is_some_and(|text| !matches!(text, "false" | "0"))
    }

    /// The page a route asks for; the first when it does not say.
    pub(crate) fn page(&self) -> u32 {
        self.param("page").parse().unwrap_or(0)
    }

    /// Host and port of the path, by canonical name.
    pub(crate) fn key(&self) -> Result<InstanceKey, Failure> {
        Ok(self.meant(&self.raw_key()?))
    }

    /// Another host and port of the path, by canonical name.
    pub(crate) fn key_of(&self, host: &str, port: &str) -> Result<InstanceKey, Failure> {
        Ok(self.meant(&self.raw_key_of(host, port)?))
    }

    /// The instance of that name, by canonical name, or the only one that it is the leading labels
    /// of.
    fn meant(&self, given: &InstanceKey) -> InstanceKey {
        target(&self.fleet, &self.services.discovery.resolve(given))
    }

    /// Host and port of the path as they are written.
    pub(crate) fn raw_key(&self) -> Result<InstanceKey, Failure> {
        self.raw_key_of("host", "port")
    }

    /// The other instance of the path, by canonical name.
    pub(crate) fn below(&self) -> Result<InstanceKey, Failure> {
        self.key_of("below_host", "below_port")
    }

    fn raw_key_of(&self, host: &str, port: &str) -> Result<InstanceKey, Failure> {
        let (host, port) = (self.param(host), self.param(port));
        let number = port.parse::<u16>().ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| Failure::new(format!("Invalid port: {port}")))?;
        if host.is_empty() {
            return Err(Failure::new("Invalid host: it is empty"));
        }
        Ok(InstanceKey::new(host, number))
    }

    /// The known instance that is read: parts of a host name will do where only one is meant.
    pub(crate) fn member(&self) -> Result<(&Arc<Cluster>, &Member), Failure> {
        let key = fuzzy_match(&self.fleet, &self.key()?);
        let unknown = || Failure::new(format!("Cannot read instance: {key}"));
        self.fleet.member(&key).ok_or_else(unknown)
    }

    /// The cluster that is meant by a hint.
    pub(crate) fn cluster(&self, hint: &str) -> Result<&Arc<Cluster>, Failure> {
        cluster_by_hint(&self.fleet, hint).ok_or_else(|| {
            Failure::new(format!("Unable to determine cluster name. clusterHint={hint}"))
        })
    }

    /// The cluster that the path's hint means, or its host and port.
    pub(crate) fn hinted_cluster(&self) -> Result<&Arc<Cluster>, Failure> {
        if self.has("host") {
            return self.member().map(|(cluster, _)| cluster);
        }
        self.cluster(self.param("hint"))
    }

    /// Renders an instance.
    pub(crate) fn render(&self, cluster: &Cluster, member: &Member) -> InstanceJson {
        InstanceJson::of(&self.fleet, cluster, member, self.now)
    }

    /// What the node is called.
    pub(crate) fn node(&self) -> NodeName<'_> {
        let node = &self.services.node;
        NodeName { hostname: &node.hostname, token: &node.token }
    }

    /// Has a recovery made, under the name of the request.
    pub(crate) async fn recover(&self, request: Request) -> Result<Arc<Recovery>, RecoverError> {
        self.services.recoveries.recover_as(request, self.name.clone()).await
    }

    /// Who would run a recovery that is only supposed.
    pub(crate) fn runner(&self) -> Runner {
        self.services.runner()
    }

    /// Proposes a change, and writes it to the audit log.
    pub(crate) async fn change(
        &self,
        kind: &str,
        key: Option<&InstanceKey>,
        message: String,
        command: Command,
    ) -> Result<Applied, Failure> {
        let applied = self.agree(command).await?;
        self.audit(kind, key, message);
        Ok(applied)
    }

    /// Has a command agreed upon that is nobody's to read about.
    pub(crate) async fn agree(&self, command: Command) -> Result<Applied, Failure> {
        let applied = self.services.ledger.propose(command).await?;
        // Whoever asks next sees what was just set. Should publishing lag behind, the change is
        // made all the same.
        let mut snapshot = self.services.snapshot.clone();
        let published = snapshot.wait_for(|fleet| fleet.ledger.index >= applied.index);
        let _ = tokio::time::timeout(PUBLISH_DEADLINE, published).await;
        Ok(applied)
    }

    /// Writes to the audit log.
    pub(crate) fn audit(&self, kind: &str, key: Option<&InstanceKey>, message: String) {
        let caller = &self.caller;
        let message =
            if message.is_empty() { caller.clone() } else { format!("{message} ({caller})") };
        let cluster = key.and_then(|key| self.fleet.cluster_of.get(key)).cloned();
        self.services.history.record_audit(NewAuditEntry {
            at: self.now,
            kind: kind.to_owned(),
            key: key.cloned(),
            cluster,
            message,
        });
    }
}
