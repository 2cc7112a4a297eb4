//! Draws a cluster as text, as terminals and chats show it.

use std::collections::BTreeSet;

use crate::cluster::{Cluster, Member};
use crate::instance::{Instance, Positioning};
use crate::key::InstanceKey;
use crate::ledger::LedgerState;
use crate::policy::Policy;
use crate::snapshot::FleetSnapshot;
use crate::status::{excess_lag_seconds, is_recently_checked, is_replica, is_replicating};
use crate::time::Timestamp;

/// How the columns are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `name [lag,status,...]`, aligned at the bracket.
    Plain,
    /// Columns joined by `|`, aligned.
    Tabulated,
    /// As plain, followed by tags.
    Tags,
}

/// One line before it is aligned.
struct Line {
    name: String,
    columns: [String; 6],
    tags: String,
}

/// Draws `cluster`, one line per instance, depth first.
pub fn topology(cluster: &Cluster, fleet: &FleetSnapshot, style: Style, now: Timestamp) -> String {
    let drawing = Drawing { cluster, ledger: &fleet.ledger, policy: &fleet.policy, now };
    let mut lines = Vec::new();
    let mut drawn = BTreeSet::new();
    let ring = cluster.member(&cluster.head).is_some_and(|head| {
        head.source.as_ref().is_some_and(|source| cluster.members.contains_key(source))
    });
    if ring {
        let co_primaries = || cluster.members.values().filter(|member| member.is_co_primary);
        drawn.extend(co_primaries().map(|member| member.key().clone()));
        for member in co_primaries() {
            drawing.branch(member, 1, &mut drawn, &mut lines);
        }
    }
    // Whatever nothing led to (several tops, longer rings) is drawn from its own top.
    let mut tops: Vec<&Member> = cluster.members.values().collect();
    tops.sort_by_key(|member| (*member.key() != cluster.head, member.depth));
    for member in tops {
        if drawn.insert(member.key().clone()) {
            drawing.branch(member, 0, &mut drawn, &mut lines);
        }
    }
    render(&lines, style)
}

struct Drawing<'a> {
    cluster: &'a Cluster,
    ledger: &'a LedgerState,
    policy: &'a Policy,
    now: Timestamp,
}

impl Drawing<'_> {
    fn branch(
        &self,
        member: &Member,
        depth: usize,
        drawn: &mut BTreeSet<InstanceKey>,
        lines: &mut Vec<Line>,
    ) {
        lines.push(self.line(member, depth));
        for key in &member.replicas {
            let Some(replica) = self.cluster.member(key) else { continue };
            if drawn.insert(key.clone()) {
                self.branch(replica, depth + 1, drawn, lines);
            }
        }
    }

    fn line(&self, member: &Member, depth: usize) -> Line {
        let instance = &*member.instance;
        let mut name = String::new();
        if depth > 0 {
            name.push_str(&"  ".repeat(depth - 1));
            name.push_str(self.marker(instance));
            name.push(' ');
        }
        name.push_str(&instance.key.to_string());
        if !instance.facts.alias.is_empty() {
            name.push_str(&format!(" ({})", instance.facts.alias));
        }
        Line { name, columns: self.columns(member), tags: self.tags(&instance.key) }
    }

    fn marker(&self, instance: &Instance) -> &'static str {
        let is_secondary =
            instance.facts.group.as_ref().is_some_and(|group| group.role == "SECONDARY");
        if is_secondary {
            "‡"
        } else if is_replicating(instance) && self.is_sighted(instance) {
            "+"
        } else {
            "-"
        }
    }

    fn is_sighted(&self, instance: &Instance) -> bool {
        instance.is_valid() && is_recently_checked(instance, self.policy, self.now)
    }

    fn columns(&self, member: &Member) -> [String; 6] {
        let facts = &member.instance.facts;
        let access = if facts.read_only { "ro" } else { "rw" };
        let format = if facts.binlog.enabled { facts.binlog.format.as_str() } else { "nobinlog" };
        [
            self.lag(&member.instance),
            self.status(&member.instance).to_owned(),
            facts.version.as_str().to_owned(),
            access.to_owned(),
            format.to_owned(),
            self.extras(member),
        ]
    }

    fn lag(&self, instance: &Instance) -> String {
        let knows_lag = instance
            .facts
            .main_channel()
            .is_some_and(|channel| channel.is_running() && channel.seconds_behind.is_some());
        if !self.is_sighted(instance) {
            "unknown".to_owned()
        } else if is_replica(instance) && !knows_lag {
            "null".to_owned()
        } else {
            format!("{}s", instance.facts.lag_seconds().unwrap_or(0))
        }
    }

    fn status(&self, instance: &Instance) -> &'static str {
        let reasonable = self.policy.reasonable_maintenance_lag.as_secs();
        let lags = || excess_lag_seconds(instance).is_none_or(|lag| lag > reasonable);
        if !instance.is_valid() {
            "invalid"
        } else if !is_recently_checked(instance, self.policy, self.now) {
            "unchecked"
        } else if is_replica(instance) && !is_replicating(instance) {
            "nonreplicating"
        } else if is_replica(instance) && lags() {
            "lag"
        } else {
            "ok"
        }
    }

    fn extras(&self, member: &Member) -> String {
        let facts = &member.instance.facts;
        let mut extras: Vec<&str> = Vec::new();
        if facts.binlog.enabled && facts.binlog.logs_replica_updates {
            extras.push(">>");
        }
        let uses_mariadb_gtid = facts
            .main_channel()
            .is_some_and(|channel| channel.positioning == Positioning::MariaDbGtid);
        if facts.gtid.is_supported() || uses_mariadb_gtid {
            extras.push(if member.is_errant() { "GTID:errant" } else { "GTID" });
        }
        if facts.semi_sync.source_active {
            extras.push("semi:master");
        }
        if facts.semi_sync.replica_active {
            extras.push("semi:replica");
        }
        if self.ledger.downtime_of(member.key(), self.now).is_some() {
            extras.push("downtimed");
        }
        extras.join(",")
    }

    fn tags(&self, key: &InstanceKey) -> String {
        let tags = self.ledger.tags.get(key).into_iter().flat_map(|tags| tags.iter());
        let shown =
            tags.map(
                |(name, value)| {
                    if value.is_empty() { name.to_string() } else { format!("{name}={value}") }
                },
            );
        shown.collect::<Vec<_>>().join(",")
    }
}

fn render(lines: &[Line], style: Style) -> String {
    let width_of = |text: &str| text.chars().count();
    let name_width = lines.iter().map(|line| width_of(&line.name)).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(|column| {
        lines.iter().map(|line| width_of(&line.columns[column])).max().unwrap_or(0)
    });
    let draw = |line: &Line| match style {
        Style::Tabulated => {
            let [lag, middle @ .., extras] = &line.columns;
            let mut text = format!("{:name_width$}|{lag:>width$}", line.name, width = widths[0]);
            for (column, width) in middle.iter().zip(&widths[1..]) {
                text.push_str(&format!("|{column:width$}"));
            }
            format!("{text}|{extras}")
        }
        Style::Plain | Style::Tags => {
            let filled = line.columns.iter().filter(|column| !column.is_empty());
            let columns = filled.map(String::as_str).collect::<Vec<_>>().join(",");
            let tags =
                if style == Style::Tags { format!(" [{}]", line.tags) } else { String::new() };
            format!("{:name_width$} [{columns}]{tags}", line.name)
        }
    };
    lines.iter().map(draw).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
