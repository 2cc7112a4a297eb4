//! Keys of recovery and its hooks.

use super::Kind::{Bool, List, Text, Uint};
use super::{Group, Key, ignored, live, synonym};

pub(super) const GROUPS: &[Group] =
    &[Group { title: "Recovery", keys: RECOVERY }, Group { title: "Hooks", keys: HOOKS }];

const RECOVERY: &[Key] = &[
    live("RecoverMasterClusterFilters", List, "", "Clusters whose primary is failed over."),
    live(
        "RecoverIntermediateMasterClusterFilters",
        List,
        "",
        "Clusters whose intermediate sources are recovered.",
    ),
    live("RecoveryIgnoreHostnameFilters", List, "", "Instances left out of analysis."),
    live("PromotionIgnoreHostnameFilters", List, "", "Instances never promoted."),
    live("FailureDetectionPeriodBlockMinutes", Uint, "60", "Report a failure once in this time."),
    live("RecoveryPeriodBlockSeconds", Uint, "3600", "Recover a cluster once in this time."),
    live(
        "RecoveryPeriodBlockMinutes",
        Uint,
        "60",
        "Old unit; read only when RecoveryPeriodBlockSeconds is explicitly 0.",
    ),
    live(
        "ApplyMySQLPromotionAfterMasterFailover",
        Bool,
        "true",
        "Make a promoted one writable and have it forget its source.",
    ),
    live(
        "DetachLostReplicasAfterMasterFailover",
        Bool,
        "true",
        "Detach replicas that were lost in a failover.",
    ),
    synonym("DetachLostSlavesAfterMasterFailover", Bool, "DetachLostReplicasAfterMasterFailover"),
    live(
        "MasterFailoverDetachReplicaMasterHost",
        Bool,
        "false",
        "Detach a promoted one that is not made writable from its old source.",
    ),
    synonym("MasterFailoverDetachSlaveMasterHost", Bool, "MasterFailoverDetachReplicaMasterHost"),
    live(
        "CoMasterRecoveryMustPromoteOtherCoMaster",
        Bool,
        "true",
        "A dead co-primary's place is only taken by the other.",
    ),
    live("PreventCrossDataCenterMasterFailover", Bool, "false", "Stay in the data centre."),
    live("PreventCrossRegionMasterFailover", Bool, "false", "Stay in the region."),
    live("FailMasterPromotionOnLagMinutes", Uint, "0", "Refuse candidates this late; 0: never."),
    live(
        "FailMasterPromotionOnKnownLoss",
        Bool,
        "true",
        "Promote nobody automatically who lacks transactions that another server was seen to have.",
    ),
    live(
        "FailMasterPromotionIfSQLThreadNotUpToDate",
        Bool,
        "false",
        "Refuse a candidate that has not applied all it received.",
    ),
    live(
        "DelayMasterPromotionIfSQLThreadNotUpToDate",
        Bool,
        "false",
        "Wait for a candidate to apply all it received; baton always does.",
    ),
    live(
        "PostponeReplicaRecoveryOnLagMinutes",
        Uint,
        "0",
        "Move replicas with a longer delay only after all others; 0: with them.",
    ),
    synonym("PostponeSlaveRecoveryOnLagMinutes", Uint, "PostponeReplicaRecoveryOnLagMinutes"),
    live("RecoverNonWriteableMaster", Bool, "false", "Make a read-only primary writable."),
    live(
        "EnforceExactSemiSyncReplicas",
        Bool,
        "false",
        "Keep exactly the semi-sync replicas asked.",
    ),
    live("RecoverLockedSemiSyncMaster", Bool, "false", "Free a primary waiting for semi-sync."),
    live(
        "ReasonableLockedSemiSyncMasterSeconds",
        Uint,
        "0",
        "How long waiting is normal; 0: ReasonableReplicationLagSeconds.",
    ),
    live(
        "RejoinFormerPrimaries",
        Bool,
        "false",
        "Make a former primary that comes back a replica, if it has nothing of its own.",
    ),
    live(
        "FleetBreakerClusters",
        Uint,
        "5",
        "Hold all recoveries while so many clusters or more lost their primary within 15 minutes of each other, until that is over, forgotten or released for 10 minutes...",
    ),
    live(
        "FleetBreakerPercent",
        Uint,
        "50",
        "...and they are more than this share of the clusters whose primary has replicas and was ever seen.",
    ),
    live("ReduceReplicationAnalysisCount", Bool, "true", "Analyse only instances that may matter."),
    ignored(
        "MasterFailoverLostInstancesDowntimeMinutes",
        "orchestrator did not use it; the downtime of lost instances renews itself",
    ),
    ignored("ExpectFailureAnalysisConcensus", "orchestrator did not use it"),
];

const HOOKS: &[Key] = &[
    live("ProcessesShellCommand", Text, "bash", "Shell that runs the hooks."),
    live(
        "HookTimeoutSeconds",
        Uint,
        "86400",
        "A hook that runs longer is killed. When not given, those of OnFailureDetectionProcesses have \
         60 and all others a day: `/api/running-hooks` tells which run, `/api/end-hook/ID` ends one.",
    ),
    live(
        "UnquotedHookPlaceholders",
        Bool,
        "false",
        "Put values into hooks as they are, as orchestrator did: unsafe.",
    ),
    live(
        "OnFailureDetectionProcesses",
        List,
        "",
        "Run when a failure is detected; a failure stops the recovery.",
    ),
    live(
        "PreGracefulTakeoverProcesses",
        List,
        "",
        "Run before a graceful takeover; a failure stops it.",
    ),
    live("PreFailoverProcesses", List, "", "Run before a recovery; a failure stops it."),
    live("PostMasterFailoverProcesses", List, "", "Run after a primary was failed over."),
    live(
        "PostIntermediateMasterFailoverProcesses",
        List,
        "",
        "Run after an intermediate source was recovered.",
    ),
    live("PostFailoverProcesses", List, "", "Run after any recovery that succeeded."),
    live("PostUnsuccessfulFailoverProcesses", List, "", "Run after a recovery that failed."),
    live("PostGracefulTakeoverProcesses", List, "", "Run after a graceful takeover."),
    live("PostTakeMasterProcesses", List, "", "Run after take-master."),
];
