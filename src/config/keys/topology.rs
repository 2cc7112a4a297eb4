//! Keys of the watched servers: connections, discovery, names, classification.

use super::Kind::{Bool, Float, List, Map, Secret, Text, Uint};
use super::{Group, Key, fixed, ignored, later, live, synonym};

pub(super) const GROUPS: &[Group] = &[
    Group { title: "Connections to instances", keys: CONNECTIONS },
    Group { title: "Discovery", keys: DISCOVERY },
    Group { title: "Names", keys: NAMES },
    Group { title: "Classification", keys: CLASSIFICATION },
    Group { title: "Pseudo-GTID", keys: PSEUDO_GTID },
];

const NO_QUEUE: &str = "there is no discovery queue: every instance has a probe of its own";
const PGTID: &str = "Pseudo-GTID is not carried over";

const CONNECTIONS: &[Key] = &[
    live("MySQLTopologyUser", Text, "", "User on every instance."),
    live("MySQLTopologyPassword", Secret, "", "Its password, or `${VARIABLE}`."),
    live(
        "MySQLTopologyCredentialsConfigFile",
        Text,
        "",
        "my.cnf with `[client]` user and password; comes before the two keys above.",
    ),
    live(
        "MySQLTopologyTLS",
        Text,
        "",
        "`off`, `preferred`, `required` or `mutual`. When not given it follows \
         MySQLTopologyUseMutualTLS (`mutual`) and MySQLTopologyUseMixedTLS (`preferred`).",
    ),
    live("MySQLTopologyUseMutualTLS", Bool, "false", "Old spelling of `mutual`."),
    live("MySQLTopologyUseMixedTLS", Bool, "true", "Old spelling of `preferred`; false: `off`."),
    live("MySQLTopologySSLPrivateKeyFile", Text, "", "Client key."),
    live("MySQLTopologySSLCertFile", Text, "", "Client certificate."),
    live("MySQLTopologySSLCAFile", Text, "", "Authority that signs the instances' certificates."),
    live(
        "MySQLTopologySSLSkipVerify",
        Bool,
        "false",
        "Do not verify certificates. `preferred` without MySQLTopologySSLCAFile never does.",
    ),
    live(
        "MySQLTopologyPinCertificates",
        Bool,
        "true",
        "Where certificates are not verified: send the password only to servers that show the key they \
         showed first. Another one is told, until `confirm-certificate` says that it is right.",
    ),
    live(
        "MySQLTopologyAllowServerPublicKey",
        Bool,
        "false",
        "Without TLS, send servers that ask for it the password encrypted with a key of their own. \
         Whatever poses as a server can read it then.",
    ),
    live("MySQLConnectTimeoutSeconds", Uint, "1", "Deadline of a connection attempt."),
    live("MySQLDiscoveryReadTimeoutSeconds", Uint, "1", "Deadline of a probe."),
    later("MySQLTopologyReadTimeoutSeconds", Uint, "600", "Deadline of any other statement."),
    live("DefaultInstancePort", Uint, "3306", "Port of instances named without one."),
    later("UseSuperReadOnly", Bool, "false", "Set super_read_only along with read_only."),
    live(
        "ReplicationCredentialsQuery",
        Text,
        "",
        "Query on an instance: replication user, password, TLS authority, certificate and key.",
    ),
    ignored("TLSCacheTTLFactor", "whether a server speaks TLS is asked at each connection"),
    ignored("MySQLTopologyMaxAllowedPacket", "it had no effect; the driver asks the server"),
    ignored("MySQLConnectionLifetimeSeconds", "connections stay open to notice a crash at once"),
];

const DISCOVERY: &[Key] = &[
    live("InstancePollSeconds", Uint, "5", "Time between two probes of an instance."),
    live("ReasonableInstanceCheckSeconds", Uint, "1", "Grace before a last probe is too old."),
    live("DiscoverByShowSlaveHosts", Bool, "false", "Find replicas by SHOW REPLICAS first."),
    fixed("DiscoverySeeds", List, "", "Instances (`host:port`) to discover at start."),
    fixed(
        "DiscoveryMaxConcurrency",
        Uint,
        "300",
        "Most connection attempts at once, and as many to servers that did not answer before.",
    ),
    live(
        "DiscoveryAllow",
        List,
        "",
        "Where servers may be: hosts (`db1.example.com`), domains (`.example.com`), networks \
         (`10.0.0.0/8`). Others are never connected to. Empty: anywhere.",
    ),
    live("DiscoveryIgnoreReplicaHostnameFilters", List, "", "Replicas not to discover."),
    live("DiscoveryIgnoreMasterHostnameFilters", List, "", "Sources not to discover."),
    live("DiscoveryIgnoreHostnameFilters", List, "", "Instances not to discover."),
    live(
        "DiscoveryIgnoreReplicationUsernameFilters",
        List,
        "",
        "Replication users whose replicas are not discovered.",
    ),
    fixed("DeadInstancePollSecondsMultiplyFactor", Float, "1", "Growth of a dead one's interval."),
    fixed("DeadInstancePollSecondsMax", Uint, "300", "Longest interval of a dead instance."),
    live("UnseenInstanceForgetHours", Uint, "240", "Forget instances not seen this long."),
    later("SnapshotTopologiesIntervalHours", Uint, "0", "Store the topology this often; 0: never."),
    later(
        "InstanceBulkOperationsWaitTimeoutSeconds",
        Uint,
        "10",
        "How long to wait for replicas to apply their relay logs when regrouping.",
    ),
    later("MaxConcurrentReplicaOperations", Uint, "5", "Replicas moved at the same time."),
    live("LowerReplicaVersionAllowed", Bool, "false", "Let a replica be older than its source."),
    later("VerifyReplicationFilters", Bool, "false", "Compare replication filters before moves."),
    ignored("EnableDiscoveryFiltersLogs", "filtered instances are logged at debug level"),
    ignored("DiscoveryQueueCapacity", NO_QUEUE),
    ignored("DiscoveryQueueMaxStatisticsSize", NO_QUEUE),
    ignored("DiscoveryCollectionRetentionSeconds", NO_QUEUE),
    ignored("DeadInstanceDiscoveryMaxConcurrency", NO_QUEUE),
    ignored("DeadInstanceDiscoveryLogsEnabled", NO_QUEUE),
    ignored("SkipMaxScaleCheck", "MaxScale is not looked for"),
];

const NAMES: &[Key] = &[
    fixed("HostnameResolveMethod", Text, "default", "`none`, `default`, `cname` or `ip`."),
    live(
        "MySQLHostnameResolveMethod",
        Text,
        "@@hostname",
        "`none`, `@@hostname` or `@@report_host`.",
    ),
    later("ExpiryHostnameResolvesMinutes", Uint, "60", "How long a resolved name is kept."),
    later("RejectHostnameResolvePattern", Text, "", "Resolved names to reject."),
    live("ProblemIgnoreHostnameFilters", List, "", "Instances not listed as problems."),
    live(
        "OSCIgnoreHostnameFilters",
        List,
        "",
        "Replicas a schema change tool does not throttle on.",
    ),
    ignored("SkipBinlogServerUnresolveCheck", "binlog servers get no special treatment"),
];

const CLASSIFICATION: &[Key] = &[
    live("ReplicationLagQuery", Text, "", "Query for an instance's lag in seconds."),
    synonym("SlaveLagQuery", Text, "ReplicationLagQuery"),
    live("DetectClusterAliasQuery", Text, "", "Query on a primary for the cluster's alias."),
    live("ClusterNameToAlias", Map, "", "Regular expression on the cluster name, to alias."),
    live("DetectClusterDomainQuery", Text, "", "Query on a primary for the cluster's domain."),
    live("DetectInstanceAliasQuery", Text, "", "Query for an instance's alias."),
    live("DetectPromotionRuleQuery", Text, "", "Query for an instance's promotion rule."),
    live("DataCenterPattern", Text, "", "Pattern on host names; its group is the data centre."),
    live("DetectDataCenterQuery", Text, "", "Query for the data centre."),
    live("RegionPattern", Text, "", "Pattern on host names; its group is the region."),
    live("DetectRegionQuery", Text, "", "Query for the region."),
    live("PhysicalEnvironmentPattern", Text, "", "Pattern on host names for the environment."),
    live("DetectPhysicalEnvironmentQuery", Text, "", "Query for the environment."),
    live("DetectSemiSyncEnforcedQuery", Text, "", "Query for the semi-sync priority."),
    live("ReasonableReplicationLagSeconds", Uint, "10", "More lag than this is a problem."),
    live("ReasonableMaintenanceReplicationLagSeconds", Uint, "20", "Most lag to move a replica."),
    live("CandidateInstanceExpireMinutes", Uint, "60", "How long a promotion rule lasts."),
    live("SupportFuzzyPoolHostnames", Bool, "true", "Match pool members by part of a name."),
    live("InstancePoolExpiryMinutes", Uint, "60", "How long a pool submission lasts."),
];

const PSEUDO_GTID: &[Key] = &[
    ignored("AutoPseudoGTID", PGTID),
    ignored("PseudoGTIDPattern", PGTID),
    ignored("PseudoGTIDPatternIsFixedSubstring", PGTID),
    ignored("PseudoGTIDMonotonicHint", PGTID),
    ignored("DetectPseudoGTIDQuery", PGTID),
    ignored("BinlogEventsChunkSize", PGTID),
    ignored("SkipBinlogEventsContaining", PGTID),
    ignored("PseudoGTIDCoordinatesHistoryHeuristicMinutes", PGTID),
    ignored("PseudoGTIDPreferIndependentMultiMatch", PGTID),
];
