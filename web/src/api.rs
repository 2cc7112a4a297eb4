//! The routes of the HTTP API, as data: path, who may call it, and what answers.

mod asked;
#[cfg(test)]
mod doc;
mod extra;
mod hooks;
mod info;
mod kv;
mod manage;
mod meta;
mod monitoring;
mod pools;
mod raft;
mod recover;
mod recovered;
mod recovery;
mod relocate;
mod replication;
mod show;
mod tags;

use futures_util::future::BoxFuture;

use crate::call::Call;
use crate::reply::Outcome;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever may read.
    Read,
    /// Reads what only the powerful may read.
    PrivilegedRead,
    /// Changes something: whoever may write, and no foreign page in somebody's browser.
    Write,
    /// The same, by a plan that can be seen first: takes `dry_run`.
    Planned,
}

impl Access {
    /// Whether something may be different afterwards.
    pub(crate) fn changes(self) -> bool {
        matches!(self, Self::Write | Self::Planned)
    }
}

/// Which node of a raft answers a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The one that leads; the others pass it on.
    Leader,
    /// Whoever is asked.
    Here,
}

/// What answers a route.
pub(crate) type Handler = fn(Call) -> BoxFuture<'static, Outcome>;

/// One route.
pub(crate) struct Route {
    /// Segments below `/api/`, parameters with a colon, as in `instance/:host/:port`.
    pub(crate) path: &'static str,
    /// Who may call it.
    pub(crate) access: Access,
    /// Which node of a raft answers it.
    pub(crate) place: Place,
    /// What answers.
    pub(crate) handler: Handler,
}

macro_rules! access {
    (($access:ident Here)) => {
        Access::$access
    };
    ($access:ident) => {
        Access::$access
    };
}

macro_rules! place {
    (($access:ident Here)) => {
        Place::Here
    };
    ($access:ident) => {
        Place::Leader
    };
}

macro_rules! routes {
    ($($who:tt $handler:path { $($path:literal),+ $(,)? })+) => {
        [$($(Route {
            path: $path,
            access: access!($who),
            place: place!($who),
            handler: |call| Box::pin($handler(call)),
        }),+),+]
    };
}

/// Every route there is. The first that matches answers; the number of segments matters. In a raft
/// the leader answers, except where it says `Here`.
pub(crate) static ROUTES: &[Route] = &routes! {
    Read info::search { "search/:text", "search" }
    Read info::cluster {
        "cluster/alias/:hint", "cluster/instance/:host/:port", "cluster/:hint",
    }
    Read info::cluster_info { "cluster-info/alias/:hint", "cluster-info/:hint" }
    Read info::osc_replicas_of { "cluster-osc-slaves/:hint", "cluster-osc-replicas/:hint" }
    Write info::set_cluster_alias { "set-cluster-alias/:hint" }
    Read info::clusters { "clusters" }
    Read info::clusters_info { "clusters-info" }
    Read info::primaries { "masters" }
    Read info::primary { "master/:hint" }
    Read info::replicas { "instance-replicas/:host/:port" }
    Read info::all_instances { "all-instances" }
    Read info::downtimed { "downtimed/:hint", "downtimed" }
    Read info::topology { "topology/:hint", "topology/:host/:port" }
    Read info::topology_tabulated { "topology-tabulated/:hint", "topology-tabulated/:host/:port" }
    Read info::topology_tags { "topology-tags/:hint", "topology-tags/:host/:port" }
    Write info::snapshot_topologies { "snapshot-topologies" }
    Read info::problems { "problems/:hint", "problems" }
    Read info::audit {
        "audit/instance/:host/:port/:page", "audit/instance/:host/:port", "audit/:page", "audit",
    }
    Read info::resolve { "resolve/:host/:port" }
    PrivilegedRead info::bulk_instances { "bulk-instances" }
    PrivilegedRead info::bulk_promotion_rules { "bulk-promotion-rules" }
    Read info::instance { "instance/:host/:port" }
    Read info::channels { "channels/:host/:port" }

    Read tags::tagged { "tagged" }
    Read tags::tags { "tags/:host/:port" }
    Read tags::value { "tag-value/:host/:port/:name", "tag-value/:host/:port" }
    Write tags::tag { "tag/:host/:port/:name/:value", "tag/:host/:port" }
    Write tags::untag { "untag/:host/:port/:name", "untag/:host/:port" }
    Write tags::untag_all { "untag-all/:name/:value", "untag-all" }

    Write manage::discover { "discover/:host/:port" }
    Write manage::discover_later { "async-discover/:host/:port" }
    Write manage::refresh { "refresh/:host/:port" }
    Write manage::forget { "forget/:host/:port" }
    Write manage::confirm_certificate { "confirm-certificate/:host/:port" }
    Write manage::forget_cluster { "forget-cluster/:hint" }
    Write manage::begin_maintenance { "begin-maintenance/:host/:port/:owner/:reason" }
    Write manage::end_maintenance { "end-maintenance/:host/:port" }
    Write manage::end_maintenance_by_id { "end-maintenance/:id" }
    Read manage::in_maintenance { "in-maintenance/:host/:port" }
    Read manage::maintenance { "maintenance" }
    Write manage::begin_downtime {
        "begin-downtime/:host/:port/:owner/:reason/:duration",
        "begin-downtime/:host/:port/:owner/:reason",
    }
    Write manage::end_downtime { "end-downtime/:host/:port" }
    Write manage::register_candidate { "register-candidate/:host/:port/:rule" }
    Write manage::register_virtual_name { "register-hostname-unresolve/:host/:port/:name" }
    Write manage::deregister_virtual_name { "deregister-hostname-unresolve/:host/:port" }

    Write pools::submit { "submit-pool-instances/:pool" }
    Read pools::of_cluster {
        "cluster-pool-instances/:hint/:pool", "cluster-pool-instances/:hint",
    }
    PrivilegedRead pools::heuristic {
        "heuristic-cluster-pool-instances/:hint/:pool", "heuristic-cluster-pool-instances/:hint",
    }
    PrivilegedRead pools::heuristic_lag {
        "heuristic-cluster-pool-lag/:hint/:pool", "heuristic-cluster-pool-lag/:hint",
    }

    Read recovery::analysis {
        "replication-analysis/instance/:host/:port",
        "replication-analysis/:hint",
        "replication-analysis",
    }
    Read recovery::changelog { "replication-analysis-changelog" }
    Read recovery::filters { "automated-recovery-filters" }
    Read recovery::detections_by_id { "audit-failure-detection/id/:id" }
    Read recovery::detections_by_alias {
        "audit-failure-detection/alias/:alias/:page", "audit-failure-detection/alias/:alias",
    }
    Read recovery::detections { "audit-failure-detection/:page", "audit-failure-detection" }
    Read recovered::list {
        "audit-recovery/id/:id", "audit-recovery/uid/:uid",
        "audit-recovery/cluster/:cluster/:page", "audit-recovery/cluster/:cluster",
        "audit-recovery/alias/:alias/:page", "audit-recovery/alias/:alias",
        "audit-recovery/:page", "audit-recovery",
    }
    Read recovered::steps { "audit-recovery-steps/:uid" }
    Read recovered::active { "active-cluster-recovery/:cluster" }
    Read recovered::recent {
        "recently-active-cluster-recovery/:cluster",
        "recently-active-instance-recovery/:host/:port",
    }
    Read recovered::blocked { "blocked-recoveries/cluster/:cluster", "blocked-recoveries" }
    Write recovered::acknowledge {
        "ack-recovery/cluster/alias/:alias", "ack-recovery/cluster/:hint",
        "ack-recovery/instance/:host/:port", "ack-recovery/uid/:uid", "ack-recovery/:id",
        "ack-all-recoveries",
    }
    Planned recover::recover {
        "recover/:host/:port/:candidateHost/:candidatePort", "recover/:host/:port",
    }
    Planned recover::recover_lite {
        "recover-lite/:host/:port/:candidateHost/:candidatePort", "recover-lite/:host/:port",
    }
    Planned recover::takeover {
        "graceful-master-takeover/:host/:port/:designatedHost/:designatedPort",
        "graceful-master-takeover/:hint/:designatedHost/:designatedPort",
        "graceful-master-takeover/:host/:port", "graceful-master-takeover/:hint",
    }
    Planned recover::takeover_auto {
        "graceful-master-takeover-auto/:host/:port/:designatedHost/:designatedPort",
        "graceful-master-takeover-auto/:hint/:designatedHost/:designatedPort",
        "graceful-master-takeover-auto/:host/:port", "graceful-master-takeover-auto/:hint",
    }
    Planned recover::force_failover {
        "force-master-failover/:host/:port", "force-master-failover/:hint",
    }
    Planned recover::force_takeover {
        "force-master-takeover/:host/:port/:designatedHost/:designatedPort",
        "force-master-takeover/:hint/:designatedHost/:designatedPort",
    }
    Read recover::breaker { "fleet-breaker" }
    Write recover::release_breaker { "release-fleet-breaker" }
    Planned recover::rejoin { "rejoin/:host/:port" }
    Read recover::readiness { "failover-readiness/:hint" }
    Read recover::explain { "explain/:host/:port" }
    PrivilegedRead extra::extra_transactions { "extra-transactions/:host/:port" }
    PrivilegedRead hooks::preview { "hooks-preview/:hint" }
    PrivilegedRead hooks::running { "running-hooks" }
    Write hooks::end { "end-hook/:id" }
    Write kv::submit { "submit-masters-to-kv-stores/:hint", "submit-masters-to-kv-stores" }
    Read recovery::check_global { "check-global-recoveries" }
    Write recovery::disable_global { "disable-global-recoveries" }
    Write recovery::enable_global { "enable-global-recoveries" }

    Planned relocate::relocate {
        "relocate/:host/:port/:below_host/:below_port",
        "relocate-below/:host/:port/:below_host/:below_port",
    }
    Planned relocate::relocate_replicas {
        "relocate-slaves/:host/:port/:below_host/:below_port",
        "relocate-replicas/:host/:port/:below_host/:below_port",
    }
    Planned relocate::regroup {
        "regroup-slaves/:host/:port", "regroup-replicas/:host/:port",
        "regroup-slaves-gtid/:host/:port", "regroup-replicas-gtid/:host/:port",
    }
    Planned relocate::move_up { "move-up/:host/:port" }
    Planned relocate::move_up_replicas {
        "move-up-slaves/:host/:port", "move-up-replicas/:host/:port",
    }
    Planned relocate::move_below { "move-below/:host/:port/:below_host/:below_port" }
    Planned relocate::move_equivalent { "move-equivalent/:host/:port/:below_host/:below_port" }
    Planned relocate::repoint { "repoint/:host/:port/:below_host/:below_port" }
    Planned relocate::repoint_replicas {
        "repoint-slaves/:host/:port", "repoint-replicas/:host/:port",
    }
    Planned relocate::make_co_primary { "make-co-master/:host/:port" }
    Planned relocate::take_siblings { "enslave-siblings/:host/:port", "take-siblings/:host/:port" }
    Planned relocate::take_source { "enslave-master/:host/:port", "take-master/:host/:port" }
    Write relocate::equivalents { "master-equivalent/:host/:port/:file/:position" }
    Planned relocate::move_below_gtid { "move-below-gtid/:host/:port/:below_host/:below_port" }
    Planned relocate::move_replicas_gtid {
        "move-slaves-gtid/:host/:port/:below_host/:below_port",
        "move-replicas-gtid/:host/:port/:below_host/:below_port",
    }
    Planned relocate::no_binlog_servers {
        "regroup-slaves-bls/:host/:port", "regroup-replicas-bls/:host/:port",
    }
    Planned relocate::no_pseudo_gtid {
        "match/:host/:port/:below_host/:below_port",
        "match-below/:host/:port/:below_host/:below_port",
        "match-up/:host/:port",
        "match-slaves/:host/:port/:below_host/:below_port",
        "match-replicas/:host/:port/:below_host/:below_port",
        "match-up-slaves/:host/:port", "match-up-replicas/:host/:port",
        "regroup-slaves-pgtid/:host/:port", "regroup-replicas-pgtid/:host/:port",
        "make-master/:host/:port", "make-local-master/:host/:port",
        "last-pseudo-gtid/:host/:port",
    }

    Planned replication::enable_gtid { "enable-gtid/:host/:port" }
    Planned replication::disable_gtid { "disable-gtid/:host/:port" }
    Read replication::locate_errant { "locate-gtid-errant/:host/:port" }
    Planned replication::errant_reset { "gtid-errant-reset-master/:host/:port" }
    Planned replication::errant_inject { "gtid-errant-inject-empty/:host/:port" }
    Planned replication::skip_query { "skip-query/:host/:port" }
    Planned replication::start { "start-slave/:host/:port", "start-replica/:host/:port" }
    Planned replication::restart { "restart-slave/:host/:port", "restart-replica/:host/:port" }
    Planned replication::stop { "stop-slave/:host/:port", "stop-replica/:host/:port" }
    Planned replication::stop_nice {
        "stop-slave-nice/:host/:port", "stop-replica-nice/:host/:port",
    }
    Planned replication::reset { "reset-slave/:host/:port", "reset-replica/:host/:port" }
    Planned replication::renew_credentials { "change-master-credentials/:host/:port" }
    Planned replication::detach {
        "detach-slave/:host/:port", "detach-replica/:host/:port",
        "detach-slave-master-host/:host/:port", "detach-replica-master-host/:host/:port",
    }
    Planned replication::reattach {
        "reattach-slave/:host/:port", "reattach-replica/:host/:port",
        "reattach-slave-master-host/:host/:port", "reattach-replica-master-host/:host/:port",
    }
    Planned replication::flush_logs { "flush-binary-logs/:host/:port" }
    Planned replication::purge_logs { "purge-binary-logs/:host/:port/:file" }
    Write replication::restart_statements {
        "restart-slave-statements/:host/:port", "restart-replica-statements/:host/:port",
    }
    Planned replication::enable_semi_sync_source {
        "enable-semi-sync-master/:host/:port", "enable-semi-sync-source/:host/:port",
    }
    Planned replication::disable_semi_sync_source {
        "disable-semi-sync-master/:host/:port", "disable-semi-sync-source/:host/:port",
    }
    Planned replication::enable_semi_sync_replica { "enable-semi-sync-replica/:host/:port" }
    Planned replication::disable_semi_sync_replica { "disable-semi-sync-replica/:host/:port" }
    Planned replication::delay { "delay-replication/:host/:port/:seconds" }
    Read replication::can_replicate_from {
        "can-replicate-from/:host/:port/:below_host/:below_port",
    }
    Read replication::can_replicate_from_gtid {
        "can-replicate-from-gtid/:host/:port/:below_host/:below_port",
    }
    Planned replication::set_read_only { "set-read-only/:host/:port" }
    Planned replication::set_writable { "set-writeable/:host/:port" }
    Planned replication::kill_query { "kill-query/:host/:port/:process" }

    Read show::fleet { "fleet" }
    Read show::events { "events" }
    Read show::readiness { "fleet-readiness" }
    Read show::move_targets { "move-targets/:host/:port" }
    (Read Here) show::session { "session" }

    (PrivilegedRead Here) meta::headers { "headers" }
    (Read Here) meta::health { "health", "status" }
    (Read Here) meta::ok { "lb-check", "_ping" }
    Read asked::outcome { "request-outcome/:id" }
    (Read Here) raft::leader_check { "leader-check/:status", "leader-check" }
    Read raft::leader_check { "routed-leader-check/:status", "routed-leader-check" }
    (Write Here) raft::grab_election { "grab-election" }
    Write raft::reelect { "reelect" }
    (Read Here) raft::state { "raft-state" }
    (Read Here) raft::leader { "raft-leader" }
    (Read Here) raft::health { "raft-health" }
    (Read Here) raft::status { "raft-status" }
    (Read Here) raft::nodes { "raft-nodes" }
    (Read Here) raft::peers { "raft-peers" }
    (Write Here) raft::snapshot { "raft-snapshot" }
    (Write Here) raft::yield_to { "raft-yield/:node" }
    (Write Here) raft::yield_hint { "raft-yield-hint/:hint" }
    Write raft::add_peer { "raft-add-peer/:addr" }
    Write raft::remove_peer { "raft-remove-peer/:addr" }
    (Write Here) meta::reload_configuration { "reload-configuration" }
    Write meta::reload_cluster_alias { "reload-cluster-alias" }
    (Read Here) meta::resolve_cache { "hostname-resolve-cache" }
    (Write Here) meta::reset_resolve_cache { "reset-hostname-resolve-cache" }

    Read monitoring::discovery_raw { "discovery-metrics-raw/:seconds" }
    Read monitoring::discovery_aggregated { "discovery-metrics-aggregated/:seconds" }
    Read monitoring::write_buffer_raw { "write-buffer-metrics-raw/:seconds" }
    Read monitoring::write_buffer_aggregated { "write-buffer-metrics-aggregated/:seconds" }
    Read monitoring::backend_query_raw { "backend-query-metrics-raw/:seconds" }
    Read monitoring::backend_query_aggregated { "backend-query-metrics-aggregated/:seconds" }
    Read monitoring::queue_raw {
        "discovery-queue-metrics-raw/:seconds", "discovery-queue-metrics-raw/:queue/:seconds",
    }
    Read monitoring::queue_aggregated {
        "discovery-queue-metrics-aggregated/:seconds",
        "discovery-queue-metrics-aggregated/:queue/:seconds",
    }
};

/// The route of a path below `/api/`, and its parameters. Segments are decoded; one trailing slash
/// is as good as none.
pub(crate) fn find(path: &str) -> Option<(&'static Route, Vec<(&'static str, String)>)> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let segments: Vec<String> = path.split('/').map(decode).collect::<Option<_>>()?;
    ROUTES.iter().find_map(|route| {
        let mut params = Vec::new();
        let mut wanted = route.path.split('/');
        for segment in &segments {
            match wanted.next()?.strip_prefix(':') {
                Some(name) if !segment.is_empty() => params.push((name, segment.clone())),
                Some(_) => return None,
                None => {}
            }
        }
        let literals = route.path.split('/').zip(&segments);
        let matches = literals
            .into_iter()
            .all(|(wanted, segment)| wanted.starts_with(':') || wanted == segment);
        (wanted.next().is_none() && matches).then_some((route, params))
    })
}

/// Whether something may be different after a request for this path below `/api/`. Of what this
/// baton does not know that has to be assumed.
pub fn changes(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    find(path).is_none_or(|(route, _)| route.access.changes())
}

/// A decoded segment. One that is no text matches nothing.
fn decode(segment: &str) -> Option<String> {
    let decoded = percent_encoding::percent_decode_str(segment).decode_utf8().ok()?;
    Some(without_line_end(&decoded).to_owned())
}

/// The parameters of a query.
pub(crate) fn query(text: &str) -> Vec<(String, String)> {
    let pairs = form_urlencoded::parse(text.as_bytes());
    pairs.map(|(name, value)| (name.into_owned(), without_line_end(&value).to_owned())).collect()
}

/// What was meant: the old client sends a line feed after every text that it encodes.
fn without_line_end(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_lose_the_line_end_of_the_old_client() {
        let expected = [("s".to_owned(), "a b".to_owned()), ("t".to_owned(), String::new())];
        assert_eq!(query("s=a+b%0A&t"), expected);
    }

    #[test]
    fn paths_are_matched_by_their_decoded_segments() {
        for (path, expected) in [
            ("instance/db1/3306", Some("host=db1 port=3306")),
            ("instance/db1/3306/", Some("host=db1 port=3306")),
            ("instance/db1/3306//", None),
            ("instance/db1", None),
            ("instance//3306", None),
            ("instance/a%20b/1", Some("host=a b port=1")),
            ("instance/a%2Fb/1", Some("host=a/b port=1")),
            ("tag/h/1/name%0A/a%0Ab%0D%0A", Some("host=h port=1 name=name value=a\nb")),
            ("instance/%ff/1", None),
            ("tag/h/1/name/a+b", Some("host=h port=1 name=name value=a+b")),
            ("cluster/alias/shop", Some("hint=shop")),
            ("cluster/shop", Some("hint=shop")),
            ("end-maintenance/7", Some("id=7")),
            ("end-maintenance/h/7", Some("host=h port=7")),
            ("tagged/", Some("")),
            ("health", Some("")),
            ("nosuch", None),
            ("", None),
        ] {
            let found = find(path).map(|(_, params)| {
                let shown = params.iter().map(|(name, value)| format!("{name}={value}"));
                shown.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(found.as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn no_route_stands_twice() {
        let mut paths: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
        paths.sort_unstable();
        let all = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), all);
    }
}
