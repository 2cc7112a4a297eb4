//! What is known: instances, clusters, drawings, problems, the audit log.

use baton_topology::ascii::{self, Style};
use baton_topology::cluster::{Cluster, Member};
use baton_topology::heuristics::osc_replicas;
use baton_topology::instance::HealthStatus;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::Command;
use baton_topology::recovery::aftermath::aftermaths;
use baton_topology::search;
use baton_topology::status;
use serde::Serialize;

use crate::call::Call;
use crate::compat::{
    AuditJson, ChannelJson, ClusterInfoJson, InstanceJson, candidates, cluster_infos, keys,
};
use crate::reply::{Failure, Outcome, Reply};

pub(super) async fn search(call: Call) -> Outcome {
    let text = if call.has("text") { call.param("text") } else { call.query("s").unwrap_or("") };
    let found = search::search(&call.fleet, text);
    Reply::bare(&render(&call, found.into_iter().map(|(cluster, member)| (&**cluster, member))))
}

pub(super) async fn cluster(call: Call) -> Outcome {
    let cluster = call.hinted_cluster()?;
    Reply::bare(&render(&call, cluster.members.values().map(|member| (&**cluster, member))))
}

pub(super) async fn cluster_info(call: Call) -> Outcome {
    let cluster = call.hinted_cluster()?;
    Reply::bare(&ClusterInfoJson::of(cluster, &call.fleet.policy))
}

pub(super) async fn osc_replicas_of(call: Call) -> Outcome {
    let cluster = call.hinted_cluster()?;
    let watched = osc_replicas(cluster, &call.fleet.policy);
    Reply::bare(&render(&call, watched.into_iter().map(|member| (&**cluster, member))))
}

pub(super) async fn set_cluster_alias(call: Call) -> Outcome {
    let cluster = call.cluster(call.param("hint"))?;
    let alias = call.query("alias").unwrap_or("");
    let command =
        Command::SetClusterAlias { cluster: cluster.id.clone(), alias: alias.trim().into() };
    let message = format!("Cluster {} now has alias '{alias}'", cluster.name());
    call.change("set-cluster-alias", Some(&cluster.head), message.clone(), command).await?;
    Reply::ok(&message, alias)
}

pub(super) async fn clusters(call: Call) -> Outcome {
    let mut names: Vec<String> = call.fleet.clusters.values().map(|it| it.name()).collect();
    names.sort();
    Reply::bare(&null_if_empty(names))
}

pub(super) async fn clusters_info(call: Call) -> Outcome {
    Reply::bare(&cluster_infos(&call.fleet))
}

pub(super) async fn primaries(call: Call) -> Outcome {
    let primaries = search::writable_primaries(&call.fleet);
    let shown = render(&call, primaries.into_iter().map(|(cluster, it)| (&**cluster, it)));
    Reply::bare(&null_if_empty(shown))
}

pub(super) async fn primary(call: Call) -> Outcome {
    let cluster = call.hinted_cluster()?;
    let heads = cluster.primaries();
    let none = || Failure::new(format!("No masters found for {}", cluster.name()));
    let head = heads.first().ok_or_else(none)?;
    Reply::bare(&call.render(cluster, head))
}

pub(super) async fn replicas(call: Call) -> Outcome {
    let (cluster, source) = call.member()?;
    let replicas = source.replicas.iter().filter_map(|key| cluster.member(key));
    Reply::bare(&render(&call, replicas.map(|member| (&**cluster, member))))
}

pub(super) async fn all_instances(call: Call) -> Outcome {
    // In the order of a search that finds everybody.
    let all = search::search(&call.fleet, "").into_iter();
    Reply::bare(&render(&call, all.map(|(cluster, member)| (&**cluster, member))))
}

pub(super) async fn downtimed(call: Call) -> Outcome {
    let of = if call.has("hint") { Some(call.hinted_cluster()?.id.clone()) } else { None };
    let members = call.fleet.members().filter(|(cluster, member)| {
        of.as_ref().is_none_or(|id| cluster.id == *id)
            && call.fleet.ledger.downtime_of(member.key(), call.now).is_some()
    });
    Reply::bare(&render(&call, members.map(|(cluster, member)| (&**cluster, member))))
}

pub(super) async fn topology(call: Call) -> Outcome {
    draw(&call, Style::Plain)
}

pub(super) async fn topology_tabulated(call: Call) -> Outcome {
    draw(&call, Style::Tabulated)
}

pub(super) async fn topology_tags(call: Call) -> Outcome {
    draw(&call, Style::Tags)
}

fn draw(call: &Call, style: Style) -> Outcome {
    let cluster = call.hinted_cluster()?;
    let drawing = ascii::topology(cluster, &call.fleet, style, call.now);
    Reply::ok(&format!("Topology for cluster {}", cluster.name()), drawing)
}

pub(super) async fn snapshot_topologies(call: Call) -> Outcome {
    call.services.history.snapshot_topologies().await?;
    Reply::ok("Topology Snapshot completed", ())
}

/// The problem of a former primary that a person has to see to.
const UNHANDLED_FAILOVER: &str = "unhandled_failover";

pub(super) async fn problems(call: Call) -> Outcome {
    let of = if call.has("hint") { Some(call.hinted_cluster()?.id.clone()) } else { None };
    let policy = &call.fleet.policy;
    let left = aftermaths(&call.fleet);
    let left_something = |key: &InstanceKey| left.iter().any(|it| it.former == *key);
    let members = call.fleet.members().filter(|(cluster, member)| {
        of.as_ref().is_none_or(|id| cluster.id == *id)
            && member.instance.health.status != HealthStatus::Unprobed
            && !policy.problem_ignore.matches(member.key().host())
            && (!status::problems(member, policy, call.now).is_empty()
                || left_something(member.key()))
    });
    let shown: Vec<InstanceJson> = members
        .map(|(cluster, member)| match left_something(member.key()) {
            true => call.render(cluster, member).with_problem(UNHANDLED_FAILOVER),
            false => call.render(cluster, member),
        })
        .collect();
    Reply::bare(&null_if_empty(shown))
}

pub(super) async fn audit(call: Call) -> Outcome {
    let of = if call.has("host") { Some(call.key()?) } else { None };
    let entries = call.services.history.audit(of, call.page()).await?;
    Reply::bare(&entries.into_iter().map(AuditJson::from).collect::<Vec<_>>())
}

pub(super) async fn resolve(call: Call) -> Outcome {
    Reply::ok("Instance resolved", crate::compat::KeyJson::from(&call.key()?))
}

pub(super) async fn bulk_instances(call: Call) -> Outcome {
    Reply::bare(&keys(call.fleet.cluster_of.keys()))
}

pub(super) async fn bulk_promotion_rules(call: Call) -> Outcome {
    Reply::bare(&candidates(&call.fleet.ledger, call.now))
}

pub(super) async fn instance(call: Call) -> Outcome {
    let (cluster, member) = call.member()?;
    Reply::bare(&call.render(cluster, member))
}

pub(super) async fn channels(call: Call) -> Outcome {
    let (_, member) = call.member()?;
    let facts = &member.instance.facts;
    let main = facts.main_channel().map(|channel| channel.name.as_str());
    let shown = facts.channels.iter().map(|channel| {
        ChannelJson::of(channel, main == Some(channel.name.as_str()), &call.fleet.names)
    });
    Reply::bare(&shown.collect::<Vec<_>>())
}

/// Renders members of clusters.
pub(super) fn render<'a>(
    call: &Call,
    members: impl Iterator<Item = (&'a Cluster, &'a Member)>,
) -> Vec<InstanceJson> {
    members.map(|(cluster, member)| call.render(cluster, member)).collect()
}

/// Some lists of the peer are null when they are empty, and programs know it.
fn null_if_empty<T: Serialize>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
