//! Keys of the process itself: logging, HTTP, the store.

use super::Kind::{Bool, List, Secret, Text, Uint};
use super::{Group, Key, fixed, ignored, later, live};

pub(super) const GROUPS: &[Group] = &[
    Group { title: "Process and audit", keys: PROCESS },
    Group { title: "HTTP server", keys: HTTP },
    Group { title: "Store", keys: STORE },
    Group { title: "Raft", keys: RAFT },
    Group { title: "Key-value publishing", keys: KV },
    Group { title: "Not carried over", keys: NOT_CARRIED_OVER },
];

const SYSLOG: &str = "logs go to standard error, where systemd or the container runtime takes them";
const OAUTH: &str = "orchestrator never used it";
const AGENTS: &str = "agents and seeds are not carried over";
const GRAPHITE: &str = "metrics are served for Prometheus";
const NO_FIELD: &str = "orchestrator had no such key either, it only stood in its sample files";
const UNUSED: &str = "orchestrator accepted and ignored it too";
const BATCHED: &str = "writes are always batched";

const PROCESS: &[Key] = &[
    fixed("Debug", Bool, "false", "Log at debug level."),
    later("AuditLogFile", Text, "", "Also append audit entries to this file."),
    fixed("AuditPurgeDays", Uint, "7", "Days to keep audit entries, detections and recoveries."),
    ignored("EnableSyslog", SYSLOG),
    ignored("AuditToSyslog", SYSLOG),
    ignored("AuditToBackendDB", "the audit is always stored"),
];

const HTTP: &[Key] = &[
    fixed(
        "ListenAddress",
        Text,
        "",
        "Address and port to listen on. When not given: `:3000` with an AuthenticationMethod, \
         `127.0.0.1:3000` without.",
    ),
    fixed("ListenSocket", Text, "", "Unix socket to listen on instead of TCP."),
    fixed(
        "HTTPAdvertise",
        Text,
        "",
        "URL (`scheme://host:port`) at which peers and people reach this node. When not given: the \
         host of RaftAdvertise and the port of ListenAddress.",
    ),
    live(
        "HTTPHostNames",
        List,
        "",
        "Further names under which browsers reach this node, such as a load balancer's; `*.` in \
         front of one stands for all names below it. Pages under these names may change things, also \
         if the proxy in front does not keep `Host`. Addresses, this machine's name and those of \
         ListenAddress, HTTPAdvertise, RaftAdvertise and RaftNodes count without being listed. \
         Under any other name a browser is refused, unless `basic` or `multi` ask it for a \
         password; programs are not.",
    ),
    fixed("URLPrefix", Text, "", "Path in front of every route."),
    live("WebMessage", Text, "", "Banner on the dashboard."),
    live("RemoveTextFromHostnameDisplay", Text, "", "Text the dashboard leaves out of host names."),
    fixed("StatusEndpoint", Text, "/api/status", "Path of the status check."),
    live("ReadOnly", Bool, "false", "Refuse every request that changes something."),
    live(
        "AuthenticationMethod",
        Text,
        "",
        "Empty, `basic`, `multi`, `proxy` or `token`. It is switched off by a restart only.",
    ),
    live("HTTPAuthUser", Text, "", "User for `basic` and `multi`."),
    live("HTTPAuthPassword", Secret, "", "Password for `basic` and `multi`."),
    live("AuthUserHeader", Text, "X-Forwarded-User", "Header naming the user, for `proxy`."),
    live(
        "PowerAuthUsers",
        List,
        "",
        "Users who may change things, for `proxy`, which needs it; `*` is everybody.",
    ),
    later("PowerAuthGroups", List, "", "Unix groups whose members may change things."),
    later("AccessTokenUseExpirySeconds", Uint, "60", "How long a new token can be redeemed."),
    later("AccessTokenExpiryMinutes", Uint, "1440", "How long a redeemed token lasts."),
    fixed("UseSSL", Bool, "false", "Serve HTTPS."),
    fixed("UseMutualTLS", Bool, "false", "Require client certificates."),
    later("SSLSkipVerify", Bool, "false", "Do not verify certificates of peers."),
    fixed("SSLPrivateKeyFile", Text, "", "Private key of the server."),
    fixed("SSLCertFile", Text, "", "Certificate of the server."),
    fixed("SSLCAFile", Text, "", "Authority of client certificates, and of other nodes'."),
    fixed(
        "SSLValidOUs",
        List,
        "",
        "Organisational units accepted in client certificates, for every request, the status check \
         included; all of them when empty.",
    ),
    ignored("StatusOUVerify", "SSLValidOUs holds for every request, the status check included"),
    later("CustomOrcIdentity", Text, "", "Name of this node in messages."),
    later("PrependMessagesWithOrcIdentity", Text, "", "Which name of this node precedes messages."),
    ignored("OAuthClientId", OAUTH),
    ignored("OAuthClientSecret", OAUTH),
    ignored("OAuthScopes", OAUTH),
    ignored("HttpTimeoutSeconds", UNUSED),
    ignored("StatusSimpleHealth", NO_FIELD),
];

const STORE: &[Key] = &[
    fixed(
        "BackendDB",
        Text,
        "",
        "`sqlite` or `mysql`. When not given: `mysql` if MySQLOrchestratorHost is set, else \
         `sqlite`. `mysql` is not available in this version.",
    ),
    fixed(
        "SQLite3DataFile",
        Text,
        "",
        "The SQLite file, or `:memory:`. When not given: `baton.sqlite3` in the state folder.",
    ),
    fixed("MySQLOrchestratorHost", Text, "", "Host of the shared MySQL backend."),
    fixed("MySQLOrchestratorPort", Uint, "3306", "Its port."),
    fixed("MySQLOrchestratorDatabase", Text, "", "Its database."),
    fixed("MySQLOrchestratorUser", Text, "", "Its user."),
    fixed("MySQLOrchestratorPassword", Secret, "", "Its password, or `${VARIABLE}`."),
    fixed("MySQLOrchestratorCredentialsConfigFile", Text, "", "my.cnf with user and password."),
    fixed("MySQLOrchestratorMaxPoolConnections", Uint, "128", "Most connections to it."),
    fixed("MySQLOrchestratorSSLPrivateKeyFile", Text, "", "Client key for it."),
    fixed("MySQLOrchestratorSSLCertFile", Text, "", "Client certificate for it."),
    fixed("MySQLOrchestratorSSLCAFile", Text, "", "Authority that signs its certificate."),
    fixed("MySQLOrchestratorSSLSkipVerify", Bool, "false", "Do not verify its certificate."),
    fixed("MySQLOrchestratorUseMutualTLS", Bool, "false", "Use the client certificate."),
    fixed("MySQLOrchestratorReadTimeoutSeconds", Uint, "30", "Deadline of its statements."),
    fixed("MySQLOrchestratorRejectReadOnly", Bool, "false", "Reconnect when it is read-only."),
    later("SkipOrchestratorDatabaseUpdate", Bool, "false", "Do not migrate the schema at start."),
    ignored("MySQLOrchestratorMaxAllowedPacket", "the driver asks the server"),
    ignored("MySQLMaxAllowedPacket", NO_FIELD),
    ignored("PanicIfDifferentDatabaseDeploy", "a schema of another version is always refused"),
    ignored("BufferInstanceWrites", BATCHED),
    ignored("InstanceWriteBufferSize", BATCHED),
    ignored("InstanceFlushIntervalMilliseconds", BATCHED),
];

const RAFT: &[Key] = &[
    ignored("RaftEnabledSingleNode", "a raft of one is one whose RaftNodes names no other"),
    fixed("RaftEnabled", Bool, "false", "Run as one node of a raft."),
    fixed("RaftBind", Text, "127.0.0.1:10008", "Address raft listens on."),
    fixed(
        "RaftAdvertise",
        Text,
        "",
        "The seat of this node: `host` or `host:port` as peers reach it and as RaftNodes has it. \
         RaftBind when empty. Host names are looked up at each connection.",
    ),
    fixed("RaftDataDir", Text, "", "Folder of `raft.db`, on a local disk. Never restore a copy."),
    fixed("DefaultRaftPort", Uint, "10008", "Port of nodes given without one."),
    fixed(
        "RaftNodes",
        List,
        "",
        "The seats of all nodes, this one included, alike on all of them. Empty: a raft of one.",
    ),
    live(
        "RaftSecret",
        Secret,
        "",
        "What all nodes know and nobody else, or `${VARIABLE}`. When neither it nor RaftSecretFile is \
         given, nodes know each other by a key that is made of MySQLTopologyUser and \
         MySQLTopologyPassword. After a change the key before is good until all members have the new \
         one, for a day at most. An empty one in a file is an error.",
    ),
    live(
        "RaftSecretFile",
        Text,
        "",
        "A file with it; spaces and line ends around it are left out.",
    ),
    fixed(
        "RaftTLSCertFile",
        Text,
        "",
        "Certificate of this node, for the host of its seat. Renewed on disk, it is used from the \
         next connection on. Without it, nodes speak TLS with certificates that are made at each start.",
    ),
    fixed("RaftTLSPrivateKeyFile", Text, "", "Its private key."),
    fixed(
        "RaftTLSCAFile",
        Text,
        "",
        "Authority of the certificates of all nodes; nodes without one are refused. Read at the \
         start.",
    ),
    fixed(
        "RaftTLSOptional",
        Bool,
        "false",
        "Show the certificate and ask for none, for the time in which nodes are given certificates, or \
         lose them, one by one. The key is proven all the same.",
    ),
    fixed(
        "RaftAllowPlainText",
        Bool,
        "false",
        "Talk without TLS, if there are no certificates; needs a RaftSecret. Whoever can read the \
         network can read the ledger, and whoever can change what goes over it can take part.",
    ),
    fixed(
        "RaftTiming",
        Text,
        "near",
        "`near` for nodes within one region, `far` for up to 100 ms between them.",
    ),
    live(
        "RaftFailureConfirmation",
        Text,
        "majority",
        "Which nodes have to see a failure before the leader acts on it by itself: the `majority` of \
         those that can see anything, `all` of them, or the `leader` alone. Unless it is the leader \
         alone, a node in the data centre of the failed server that still sees it alive has a veto.",
    ),
    live(
        "RaftDataCenter",
        Text,
        "",
        "Data centre of this node, as those of instances are called. When not given: what \
         DataCenterPattern finds in the host of RaftAdvertise.",
    ),
    fixed(
        "RaftSharedProbing",
        Bool,
        "false",
        "Divide the servers among the nodes, by data centre where that is known: each is probed by \
         one node, which tells the others. What one cannot reach all look at themselves. Alike on all.",
    ),
    fixed(
        "RaftBailOutSeconds",
        Uint,
        "600",
        "A node that takes no part for so long ends, so that whoever started it notices. 0: never.",
    ),
];

const KV: &[Key] = &[
    later(
        "KVClusterMasterPrefix",
        Text,
        "mysql/master",
        "Key under which primaries are published.",
    ),
    later("ConsulAddress", Text, "", "Address of Consul."),
    later("ConsulScheme", Text, "http", "`http` or `https`."),
    later("ConsulAclToken", Secret, "", "Consul access token."),
    later("ConsulCrossDataCenterDistribution", Bool, "false", "Write to every data centre."),
    later("ConsulKVStoreProvider", Text, "consul", "`consul`, or `consul-txn` for transactions."),
    later("ConsulMaxKVsPerTransaction", Uint, "5", "Keys in one transaction, 5 to 64."),
    later("ZkAddress", Text, "", "Addresses of ZooKeeper."),
];

const NOT_CARRIED_OVER: &[Key] = &[
    ignored("GraphiteAddr", GRAPHITE),
    ignored("GraphitePath", GRAPHITE),
    ignored("GraphiteConvertHostnameDotsToUnderscores", GRAPHITE),
    ignored("GraphitePollSeconds", GRAPHITE),
    ignored("ServeAgentsHttp", AGENTS),
    ignored("AgentsServerPort", AGENTS),
    ignored("AgentsUseSSL", AGENTS),
    ignored("AgentsUseMutualTLS", AGENTS),
    ignored("AgentSSLSkipVerify", AGENTS),
    ignored("AgentSSLPrivateKeyFile", AGENTS),
    ignored("AgentSSLCertFile", AGENTS),
    ignored("AgentSSLCAFile", AGENTS),
    ignored("AgentSSLValidOUs", AGENTS),
    ignored("AgentPollMinutes", AGENTS),
    ignored("UnseenAgentForgetHours", AGENTS),
    ignored("StaleSeedFailMinutes", AGENTS),
    ignored("SeedAcceptableBytesDiff", AGENTS),
    ignored("SeedWaitSecondsBeforeSend", AGENTS),
    ignored("AgentAutoDiscover", AGENTS),
    ignored("DatabaselessMode__experimental", UNUSED),
    ignored("BufferBinlogEvents", UNUSED),
    ignored("BinlogFileHistoryDays", UNUSED),
    ignored("MaintenanceOwner", UNUSED),
    ignored("ReadLongRunningQueries", UNUSED),
    ignored("DiscoveryPollSeconds", UNUSED),
    ignored("ActiveNodeExpireSeconds", UNUSED),
    ignored("AuditPageSize", UNUSED),
    ignored("SlaveStartPostWaitMilliseconds", UNUSED),
    ignored("MySQLTopologyMaxPoolConnections", UNUSED),
    ignored("MaintenancePurgeDays", UNUSED),
    ignored("MaintenanceExpireMinutes", UNUSED),
    ignored("MaxOutdatedKeysToShow", UNUSED),
    ignored("AutoRecoveryGloballyEnabled", NO_FIELD),
];
