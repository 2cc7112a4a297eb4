//! Findings as orchestrator shows them, with its names for what baton calls otherwise.

use std::borrow::Cow;

use baton_topology::analysis::catalog::description;
use baton_topology::analysis::{Analysis, Code, Evidence, StructureWarning};
use baton_topology::cluster::{Cluster, Member};
use baton_topology::history::DetectionEntry;
use baton_topology::instance::Facts;
use baton_topology::recovery::aftermath::{Aftermath, Concern};
use baton_topology::recovery::{Cause, Recovery};
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::status::{is_last_check_valid, is_outdated};
use baton_topology::time::Timestamp;
use serde::Serialize;

use super::cluster::ClusterInfoJson;
use super::instance::source_key;
use super::json::{BinlogJson, KeyJson, keys, timestamp, timestamp_or_empty};

/// One finding.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AnalysisJson {
    analyzed_instance_key: KeyJson,
    analyzed_instance_master_key: KeyJson,
    cluster_details: Option<ClusterInfoJson>,
    analyzed_instance_data_center: String,
    analyzed_instance_region: String,
    analyzed_instance_physical_environment: String,
    analyzed_instance_binlog_coordinates: BinlogJson,
    is_master: bool,
    is_replication_group_member: bool,
    is_co_master: bool,
    last_check_valid: bool,
    last_check_partial_success: bool,
    count_replicas: u32,
    count_valid_replicas: u32,
    count_valid_replicating_replicas: u32,
    count_replicas_failing_to_connect_to_master: u32,
    count_downtimed_replicas: u32,
    replication_depth: u32,
    replicas: Vec<KeyJson>,
    slave_hosts: Vec<KeyJson>,
    is_failing_to_connect_to_master: bool,
    analysis: &'static str,
    description: Cow<'static, str>,
    structure_analysis: Option<Vec<&'static str>>,
    is_downtimed: bool,
    is_replicas_downtimed: bool,
    downtime_end_timestamp: String,
    downtime_remaining_seconds: i64,
    is_binlog_server: bool,
    #[serde(rename = "PseudoGTIDImmediateTopology")]
    pseudo_gtid_immediate_topology: bool,
    #[serde(rename = "OracleGTIDImmediateTopology")]
    oracle_gtid_immediate_topology: bool,
    #[serde(rename = "MariaDBGTIDImmediateTopology")]
    mariadb_gtid_immediate_topology: bool,
    binlog_server_immediate_topology: bool,
    semi_sync_master_enabled: bool,
    semi_sync_master_status: bool,
    semi_sync_master_wait_for_replica_count: u32,
    semi_sync_master_clients: u32,
    count_semi_sync_replicas_enabled: u32,
    count_logging_replicas: u32,
    count_statement_based_logging_replicas: u32,
    count_mixed_based_logging_replicas: u32,
    count_row_based_logging_replicas: u32,
    count_distinct_major_versions_logging_replicas: u32,
    count_delayed_replicas: u32,
    count_lagging_replicas: u32,
    is_actionable_recovery: bool,
    processing_node_hostname: String,
    processing_node_token: String,
    count_additional_agreeing_nodes: u32,
    start_active_period: String,
    skippable_due_to_downtime: bool,
    #[serde(rename = "GTIDMode")]
    gtid_mode: String,
    #[serde(rename = "MinReplicaGTIDMode")]
    min_replica_gtid_mode: String,
    #[serde(rename = "MaxReplicaGTIDMode")]
    max_replica_gtid_mode: String,
    #[serde(rename = "MaxReplicaGTIDErrant")]
    max_replica_gtid_errant: String,
    command_hint: String,
    is_read_only: bool,
}

/// The node that answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeName<'a> {
    /// Its host name.
    pub(crate) hostname: &'a str,
    /// The token of this process.
    pub(crate) token: &'a str,
}

/// The old command that makes such a recovery; empty when nobody asked for it.
pub(crate) fn command_hint(cause: Cause) -> &'static str {
    match cause {
        Cause::Found | Cause::Hung | Cause::Asked | Cause::RejoinAuto | Cause::RegroupAuto => "",
        Cause::Rejoin => "rejoin",
        Cause::ForcedFailover => "force-master-failover",
        Cause::ForcedTakeover => "force-master-takeover",
        Cause::Takeover | Cause::TakeoverAuto => "graceful-master-takeover",
    }
}

impl AnalysisJson {
    /// Renders a finding about a member of a cluster.
    pub(crate) fn of(
        fleet: &FleetSnapshot,
        cluster: &Cluster,
        member: &Member,
        analysis: &Analysis,
        node: NodeName<'_>,
        now: Timestamp,
    ) -> Self {
        let facts: &Facts = &member.instance.facts;
        let mut details = ClusterInfoJson::of(cluster, &fleet.policy);
        details.count_instances = 0;
        if details.cluster_domain.is_empty() {
            details.cluster_domain.clone_from(&details.cluster_name);
        }
        let source = facts.main_channel().map(|it| source_key(&it.source, &fleet.names));
        let structure: Vec<&'static str> =
            analysis.structure.iter().map(|warning| warning_name(*warning)).collect();
        let ends_at = analysis.downtime_ends_at;
        Self {
            last_check_valid: analysis.evidence.is_valid
                && !is_outdated(&member.instance, &fleet.policy, now),
            analyzed_instance_master_key: source.unwrap_or_default(),
            cluster_details: Some(details),
            analyzed_instance_data_center: facts.placement.data_center.clone(),
            analyzed_instance_region: facts.placement.region.clone(),
            analyzed_instance_physical_environment: facts.placement.environment.clone(),
            analyzed_instance_binlog_coordinates: BinlogJson::binary(&facts.binlog.position),
            replicas: keys(&member.replicas),
            slave_hosts: keys(&member.replicas),
            description: description(analysis.code).into(),
            structure_analysis: (!structure.is_empty()).then_some(structure),
            is_downtimed: ends_at.is_some(),
            downtime_end_timestamp: timestamp_or_empty(ends_at),
            // Negative while in downtime: now minus the end, as programs know it.
            downtime_remaining_seconds: ends_at.map_or(0, |end| now.as_secs() - end.as_secs()),
            processing_node_hostname: node.hostname.to_owned(),
            processing_node_token: node.token.to_owned(),
            ..Self::of_evidence(analysis)
        }
    }

    /// Renders what a failover left behind: no problem as programs know them, but a warning.
    pub(crate) fn of_left(
        fleet: &FleetSnapshot,
        left: &Aftermath,
        node: NodeName<'_>,
        now: Timestamp,
    ) -> Self {
        let details = fleet.cluster(&left.cluster).map(|it| ClusterInfoJson::of(it, &fleet.policy));
        let ends_at = fleet.ledger.downtime_of(&left.former, now).map(|it| it.ends_at);
        let former = fleet.instance(&left.former);
        Self {
            analyzed_instance_key: (&left.former).into(),
            cluster_details: details,
            last_check_valid: former.is_some_and(|it| is_last_check_valid(it, &fleet.policy, now)),
            is_read_only: former.is_some_and(|it| it.facts.read_only),
            analysis: code_name(Code::NoProblem),
            description: left.to_string().into(),
            structure_analysis: Some(left.concerns.iter().map(Concern::name).collect()),
            is_downtimed: ends_at.is_some(),
            downtime_end_timestamp: timestamp_or_empty(ends_at),
            processing_node_hostname: node.hostname.to_owned(),
            processing_node_token: node.token.to_owned(),
            ..Self::default()
        }
    }

    /// What a detection keeps of the finding it was made from.
    pub(super) fn of_detection(detection: &DetectionEntry) -> Self {
        let details = ClusterInfoJson::of_detection(detection);
        Self {
            analyzed_instance_key: (&detection.analysis.key).into(),
            cluster_details: Some(details),
            count_replicas: detection.analysis.evidence.replicas,
            replicas: keys(&detection.replicas),
            slave_hosts: keys(&detection.replicas),
            analysis: code_name(detection.analysis.code),
            start_active_period: timestamp(detection.at),
            ..Self::default()
        }
    }

    /// What a recovery keeps of the finding it is about.
    pub(super) fn of_recovery(recovery: &Recovery) -> Self {
        let details = ClusterInfoJson::named(&recovery.cluster_name, &recovery.cluster_alias);
        Self {
            analyzed_instance_key: recovery.failed().into(),
            cluster_details: Some(details),
            count_replicas: recovery.analysis.evidence.replicas,
            replicas: keys(&recovery.replicas),
            slave_hosts: keys(&recovery.replicas),
            analysis: code_name(recovery.analysis.code),
            command_hint: command_hint(recovery.cause).to_owned(),
            ..Self::default()
        }
    }

    fn of_evidence(analysis: &Analysis) -> Self {
        let evidence: &Evidence = &analysis.evidence;
        Self {
            analyzed_instance_key: (&analysis.key).into(),
            is_master: evidence.is_primary,
            is_replication_group_member: evidence.is_group_member,
            is_co_master: evidence.is_co_primary,
            last_check_valid: evidence.is_valid,
            last_check_partial_success: evidence.is_partially_valid,
            count_replicas: evidence.replicas,
            count_valid_replicas: evidence.valid_replicas,
            count_valid_replicating_replicas: evidence.replicating_replicas,
            count_replicas_failing_to_connect_to_master: evidence.failing_to_connect_replicas,
            count_downtimed_replicas: evidence.downtimed_replicas,
            replication_depth: evidence.depth,
            is_failing_to_connect_to_master: evidence.is_failing_to_connect,
            analysis: code_name(analysis.code),
            is_replicas_downtimed: analysis.replicas_downtimed,
            is_binlog_server: evidence.is_binlog_server,
            oracle_gtid_immediate_topology: evidence.mysql_gtid_topology,
            mariadb_gtid_immediate_topology: evidence.mariadb_gtid_topology,
            semi_sync_master_enabled: evidence.semi_sync_enabled,
            semi_sync_master_status: evidence.semi_sync_active,
            semi_sync_master_wait_for_replica_count: evidence.semi_sync_wait_for,
            semi_sync_master_clients: evidence.semi_sync_clients,
            count_semi_sync_replicas_enabled: evidence.semi_sync_replicas,
            count_logging_replicas: evidence.logging_replicas,
            count_statement_based_logging_replicas: evidence.statement_logging_replicas,
            count_mixed_based_logging_replicas: evidence.mixed_logging_replicas,
            count_row_based_logging_replicas: evidence.row_logging_replicas,
            count_distinct_major_versions_logging_replicas: evidence.logging_major_versions,
            count_delayed_replicas: evidence.delayed_replicas,
            count_lagging_replicas: evidence.lagging_replicas,
            skippable_due_to_downtime: analysis.skippable_due_to_downtime,
            gtid_mode: evidence.gtid_mode.clone(),
            min_replica_gtid_mode: evidence.min_replica_gtid_mode.clone(),
            max_replica_gtid_mode: evidence.max_replica_gtid_mode.clone(),
            max_replica_gtid_errant: evidence.replica_errant_gtid.clone(),
            is_read_only: evidence.is_read_only,
            ..Self::default()
        }
    }
}

/// orchestrator's name of a problem.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::NoProblem => "NoProblem",
        Code::InaccessiblePrimary => "InaccessibleMaster",
        Code::InaccessibleCoPrimary => "InaccessibleCoMaster",
        Code::InaccessibleIntermediateSource => "InaccessibleIntermediateMaster",
        Code::NeverSeenPrimary => "NeverSeenMaster",
        Code::DeadPrimaryWithoutReplicas => "DeadMasterWithoutReplicas",
        Code::DeadPrimary => "DeadMaster",
        Code::DeadPrimaryAndReplicas => "DeadMasterAndReplicas",
        Code::DeadPrimaryAndSomeReplicas => "DeadMasterAndSomeReplicas",
        Code::UnreachablePrimaryWithLaggingReplicas => "UnreachableMasterWithLaggingReplicas",
        Code::UnreachablePrimary => "UnreachableMaster",
        Code::LockedSemiSyncPrimary => "LockedSemiSyncMaster",
        Code::LockedSemiSyncPrimaryHypothesis => "LockedSemiSyncMasterHypothesis",
        Code::PrimaryWithTooManySemiSyncReplicas => "MasterWithTooManySemiSyncReplicas",
        Code::NoWriteablePrimary => "NoWriteableMasterStructureWarning",
        Code::PrimarySingleReplicaNotReplicating => "MasterSingleReplicaNotReplicating",
        Code::PrimarySingleReplicaDead => "MasterSingleReplicaDead",
        Code::AllPrimaryReplicasNotReplicating => "AllMasterReplicasNotReplicating",
        Code::AllPrimaryReplicasNotReplicatingOrDead => "AllMasterReplicasNotReplicatingOrDead",
        Code::DeadCoPrimary => "DeadCoMaster",
        Code::DeadCoPrimaryAndSomeReplicas => "DeadCoMasterAndSomeReplicas",
        Code::UnreachableCoPrimary => "UnreachableCoMaster",
        Code::AllCoPrimaryReplicasNotReplicating => "AllCoMasterReplicasNotReplicating",
        Code::DeadIntermediateSourceWithSingleReplicaFailingToConnect => {
            "DeadIntermediateMasterWithSingleReplicaFailingToConnect"
        }
        Code::DeadIntermediateSourceWithSingleReplica => "DeadIntermediateMasterWithSingleReplica",
        Code::DeadIntermediateSource => "DeadIntermediateMaster",
        Code::DeadIntermediateSourceAndSomeReplicas => "DeadIntermediateMasterAndSomeReplicas",
        Code::DeadIntermediateSourceAndReplicas => "DeadIntermediateMasterAndReplicas",
        Code::UnreachableIntermediateSourceWithLaggingReplicas => {
            "UnreachableIntermediateMasterWithLaggingReplicas"
        }
        Code::UnreachableIntermediateSource => "UnreachableIntermediateMaster",
        Code::AllIntermediateSourceReplicasFailingToConnectOrDead => {
            "AllIntermediateMasterReplicasFailingToConnectOrDead"
        }
        Code::AllIntermediateSourceReplicasNotReplicating => {
            "AllIntermediateMasterReplicasNotReplicating"
        }
        Code::BinlogServerFailingToConnectToSource => "BinlogServerFailingToConnectToMaster",
        Code::FirstTierReplicaFailingToConnectToPrimary => {
            "FirstTierReplicaFailingToConnectToMaster"
        }
        Code::DeadGroupMemberWithReplicas => "DeadReplicationGroupMemberWithReplicas",
        Code::UnreachableGroupMemberWithReplicas => "UnreachableReplicationGroupMemberWithReplicas",
        Code::GroupWithoutMajority => "ReplicationGroupWithoutMajority",
        Code::PrimaryCannotWriteBinlog => "MasterCannotWriteBinlog",
        Code::PrimaryLostTransactions => "MasterLostTransactions",
    }
}

/// orchestrator's name of a structure warning.
pub(crate) fn warning_name(warning: StructureWarning) -> &'static str {
    match warning {
        StructureWarning::NoLoggingReplicas => "NoLoggingReplicasStructureWarning",
        StructureWarning::NoFailoverSupport => "NoFailoverSupportStructureWarning",
        StructureWarning::StatementAndMixedLoggingReplicas => {
            "StatementAndMixedLoggingReplicasStructureWarning"
        }
        StructureWarning::StatementAndRowLoggingReplicas => {
            "StatementAndRowLoggingReplicasStructureWarning"
        }
        StructureWarning::MixedAndRowLoggingReplicas => {
            "MixedAndRowLoggingReplicasStructureWarning"
        }
        StructureWarning::MultipleMajorVersionsLoggingReplicas => {
            "MultipleMajorVersionsLoggingReplicasStructureWarning"
        }
        StructureWarning::DifferentGtidModes => "DifferentGTIDModesStructureWarning",
        StructureWarning::ErrantGtid => "ErrantGTIDStructureWarning",
        StructureWarning::NoWriteablePrimary => "NoWriteableMasterStructureWarning",
        StructureWarning::NotEnoughValidSemiSyncReplicas => {
            "NotEnoughValidSemiSyncReplicasStructureWarning"
        }
        StructureWarning::ReplicasMayLeave => "ReplicasMayLeaveStructureWarning",
        StructureWarning::ReplicasGiveUp => "ReplicasGiveUpStructureWarning",
    }
}
