//! The commands, as data: what is asked of the API, and what of the answer is printed.

/// One command.
pub(super) struct Command {
    /// What people type.
    pub(super) name: &'static str,
    /// The path below `/api/`, with parameters in braces: see [`super::request`].
    pub(super) path: &'static str,
    /// What is printed.
    pub(super) print: Print,
    /// What it does, in one line.
    pub(super) help: &'static str,
    /// Whether it can be seen first what it would do.
    pub(super) dry_run: DryRun,
}

/// Whether it can be seen first what a command would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DryRun {
    /// The service makes a plan, and can show it.
    Shown,
    /// It changes nothing, or is done at once.
    None,
}

/// What of an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Print {
    /// Nothing.
    Nothing,
    /// The answer as it is.
    Raw,
    /// `Details`: text as it is, anything else as JSON.
    Details,
    /// The message: a text for people.
    Message,
    /// `Details`, and the message below.
    DetailsAndMessage,
    /// Who would be promoted, and what speaks for and against it.
    Readiness,
    /// The lines of the list in `Details`.
    DetailLines,
    /// The key in `Details`.
    DetailKey,
    /// The keys of the list in `Details`.
    DetailKeys,
    /// The key in `Details`, `<`, and its source.
    KeyAndSource,
    /// `SuccessorKey` in `Details`.
    Successor,
    /// `Key:Value` of each pair in `Details`.
    Pairs,
    /// The bare text, or the lines of the bare list.
    Lines,
    /// The key of the bare instance.
    Key,
    /// The keys of the bare list.
    Keys,
    /// The source of the bare instance.
    SourceKey,
    /// A field of the bare object.
    Field(&'static str),
    /// A field of each in the bare list.
    Fields(&'static str),
    /// `name,alias` of each cluster.
    NamesAndAliases,
    /// Keys of replicas with a stopped thread and an error.
    BrokenReplicas,
    /// Keys of replicas of which both threads run.
    RunningReplicas,
    /// The most frequent data centre.
    DominantDataCenter,
    /// The key, if both thread states are this.
    KeyIfThreads(i64),
    /// The destination, if the message says true.
    DestinationIfTrue,
    /// `host:port (cluster NAME): CODE` of each finding.
    Findings,
    /// The host name in the details of the status.
    NodeName,
}

const fn command(
    name: &'static str,
    path: &'static str,
    print: Print,
    help: &'static str,
) -> Command {
    Command { name, path, print, help, dry_run: DryRun::None }
}

/// A command that the service makes a plan for.
const fn planned(
    name: &'static str,
    path: &'static str,
    print: Print,
    help: &'static str,
) -> Command {
    Command { name, path, print, help, dry_run: DryRun::Shown }
}

/// The command of that name; `slave` is an old word for `replica`.
pub(super) fn find(name: &str) -> Option<&'static Command> {
    let name = name.replacen("slave", "replica", 1);
    COMMANDS.iter().find(|command| command.name == name)
}

use Print::*;

/// Every command but `help` and `which-api`, which ask nothing of the API.
pub(super) static COMMANDS: &[Command] = &[
    command("api", "{path}", Raw, "Ask for any path (-path)"),
    command("discover", "discover/{i}", DetailKey, "Look at an instance and at its topology"),
    command("async-discover", "async-discover/{i}", Nothing, "The same without waiting"),
    command("forget", "forget/{i}", Nothing, "Forget an instance"),
    command(
        "confirm-certificate",
        "confirm-certificate/{i}",
        Message,
        "Trust the certificate that it shows now",
    ),
    command("forget-cluster", "forget-cluster/{cluster}", Nothing, "Forget a whole cluster"),
    command("topology", "topology/{cluster}", Details, "Draw a topology"),
    command("topology-tabulated", "topology-tabulated/{cluster}", Details, "Draw it in columns"),
    command("topology-tags", "topology-tags/{cluster}", Details, "Draw it with tags"),
    command(
        "snapshot-topologies",
        "snapshot-topologies",
        Details,
        "Keep the shape of all topologies",
    ),
    command("clusters", "clusters-info", Fields("ClusterName"), "List clusters"),
    command("clusters-alias", "clusters-info", NamesAndAliases, "List clusters with aliases"),
    command("search", "search?s={raw-i}", Keys, "Find instances by part of a name"),
    command("instance", "instance/{i}", Key, "Say the full name of an instance"),
    command("which-instance", "instance/{i}", Key, "The same"),
    command("which-master", "instance/{i}", SourceKey, "Whom an instance replicates from"),
    command("which-replicas", "instance-replicas/{i}", Keys, "Who replicates from an instance"),
    command(
        "which-broken-replicas",
        "instance-replicas/{i}",
        BrokenReplicas,
        "Those that are broken",
    ),
    command(
        "which-cluster",
        "cluster-info/{cluster}",
        Field("ClusterName"),
        "Which cluster it is in",
    ),
    command("which-cluster-alias", "cluster-info/{cluster}", Field("ClusterAlias"), "Its alias"),
    command(
        "which-cluster-master",
        "master/{cluster}",
        Field("ClusterName"),
        "The primary of a cluster",
    ),
    command("which-cluster-instances", "cluster/{cluster}", Keys, "The instances of a cluster"),
    command("all-clusters-masters", "masters", Keys, "The writable primary of each cluster"),
    command("all-instances", "all-instances", Keys, "All instances"),
    command(
        "which-cluster-osc-replicas",
        "cluster-osc-replicas/{cluster}",
        Keys,
        "Replicas a schema change should watch",
    ),
    command(
        "which-cluster-osc-running-replicas",
        "cluster-osc-replicas/{cluster}",
        RunningReplicas,
        "Those of them that replicate",
    ),
    command("downtimed", "downtimed/{cluster?}", Keys, "Instances in downtime"),
    command("dominant-dc", "masters", DominantDataCenter, "The data centre most primaries are in"),
    command(
        "submit-masters-to-kv-stores",
        "submit-masters-to-kv-stores/{alias?}",
        Pairs,
        "Write primaries to the key-value stores",
    ),
    planned("relocate", "relocate/{i}/{d}", KeyAndSource, "Move a replica below another instance"),
    planned(
        "relocate-replicas",
        "relocate-replicas/{i}/{d}",
        DetailKeys,
        "Move all replicas of an instance",
    ),
    planned("match", "match/{i}/{d}", KeyAndSource, "Move by Pseudo-GTID"),
    planned("match-up", "match-up/{i}", KeyAndSource, "One level up, by Pseudo-GTID"),
    planned(
        "match-up-replicas",
        "match-up-replicas/{i}",
        DetailKeys,
        "All replicas one level up, by Pseudo-GTID",
    ),
    planned("move-up", "move-up/{i}", KeyAndSource, "Move one level up"),
    planned(
        "move-up-replicas",
        "move-up-replicas/{i}",
        DetailKeys,
        "Move all replicas one level up",
    ),
    planned("move-below", "move-below/{i}/{d}", KeyAndSource, "Move below a sibling"),
    planned(
        "move-equivalent",
        "move-equivalent/{i}/{d}",
        KeyAndSource,
        "Move by known equivalence",
    ),
    planned("move-gtid", "move-below-gtid/{i}/{d}", KeyAndSource, "Move by GTID"),
    planned(
        "move-replicas-gtid",
        "move-replicas-gtid/{i}/{d}",
        DetailKey,
        "The same, by GTID; prints the next source",
    ),
    planned(
        "regroup-replicas",
        "regroup-replicas/{i}",
        DetailKey,
        "Put one replica above the others, by GTID",
    ),
    planned("enable-gtid", "enable-gtid/{i}", DetailKey, "Replicate by GTID from now on"),
    planned("disable-gtid", "disable-gtid/{i}", DetailKey, "By file and position from now on"),
    planned("repoint", "repoint/{i}/{d}", KeyAndSource, "Change the source, keep the position"),
    planned("repoint-replicas", "repoint-replicas/{i}", DetailKeys, "The same for all replicas"),
    planned("take-siblings", "take-siblings/{i}", KeyAndSource, "Make siblings replicas"),
    planned("take-master", "take-master/{i}", KeyAndSource, "Swap with the source"),
    planned(
        "make-co-master",
        "make-co-master/{i}",
        KeyAndSource,
        "Make source and replica co-primaries",
    ),
    command("tags", "tags/{i}", Lines, "List tags"),
    command("tag-value", "tag-value/{i}?tag={tag}", Lines, "The value of a tag"),
    command("tag", "tag/{i}?tag={tag}", DetailKey, "Set a tag"),
    command("untag", "untag/{i}?tag={tag}", DetailKeys, "Remove a tag"),
    command(
        "untag-all",
        "untag-all?tag={tag}",
        DetailKeys,
        "Remove a tag with this value everywhere",
    ),
    command("tagged", "tagged?tag={tag}", Keys, "Instances with tags, as in a,b=c,~d"),
    command(
        "submit-pool-instances",
        "submit-pool-instances/{pool}?instances={raw-i}",
        Details,
        "Set the members of a pool",
    ),
    command(
        "which-heuristic-cluster-pool-instances",
        "heuristic-cluster-pool-instances/{cluster}/{pool?}",
        DetailKeys,
        "Members of pools that answer",
    ),
    command(
        "begin-downtime",
        "begin-downtime/{i}/{owner}/{reason}/{duration}",
        DetailKey,
        "Expect alarms on an instance",
    ),
    command("end-downtime", "end-downtime/{i}", DetailKey, "Expect none any more"),
    command(
        "begin-maintenance",
        "begin-maintenance/{i}/{owner}/{reason}",
        DetailKey,
        "Keep others from operating on it",
    ),
    command("end-maintenance", "end-maintenance/{i}", DetailKey, "Let them again"),
    command(
        "register-candidate",
        "register-candidate/{i}/{rule}",
        DetailKey,
        "How welcome it is as next primary",
    ),
    command(
        "register-hostname-unresolve",
        "register-hostname-unresolve/{i}/{hostname}",
        DetailKey,
        "Write another name into replication",
    ),
    command(
        "deregister-hostname-unresolve",
        "deregister-hostname-unresolve/{i}",
        DetailKey,
        "Stop doing so",
    ),
    planned("start-replica", "start-replica/{i}", DetailKey, "Start replication"),
    planned("stop-replica", "stop-replica/{i}", DetailKey, "Stop replication"),
    planned(
        "stop-replica-nice",
        "stop-replica-nice/{i}",
        DetailKey,
        "Stop it with everything applied",
    ),
    planned("restart-replica", "restart-replica/{i}", DetailKey, "Restart replication"),
    planned("reset-replica", "reset-replica/{i}", DetailKey, "Forget the source"),
    planned(
        "change-master-credentials",
        "change-master-credentials/{i}",
        DetailKey,
        "Set the replication account",
    ),
    planned("detach-replica", "detach-replica/{i}", DetailKey, "Break replication, reversibly"),
    planned("reattach-replica", "reattach-replica/{i}", DetailKey, "Undo that"),
    planned(
        "detach-replica-master-host",
        "detach-replica-master-host/{i}",
        DetailKey,
        "Break replication, reversibly",
    ),
    planned(
        "reattach-replica-master-host",
        "reattach-replica-master-host/{i}",
        DetailKey,
        "Undo that",
    ),
    planned("skip-query", "skip-query/{i}", DetailKey, "Skip what the applier failed on"),
    planned(
        "gtid-errant-reset-master",
        "gtid-errant-reset-master/{i}",
        DetailKey,
        "Drop errant transactions and binary logs",
    ),
    planned(
        "gtid-errant-inject-empty",
        "gtid-errant-inject-empty/{i}",
        DetailKey,
        "Make errant transactions known everywhere",
    ),
    planned(
        "enable-semi-sync-master",
        "enable-semi-sync-master/{i}",
        DetailKey,
        "Semi-sync as a source: on",
    ),
    planned(
        "disable-semi-sync-master",
        "disable-semi-sync-master/{i}",
        DetailKey,
        "Semi-sync as a source: off",
    ),
    planned(
        "enable-semi-sync-replica",
        "enable-semi-sync-replica/{i}",
        DetailKey,
        "Semi-sync as a replica: on",
    ),
    planned(
        "disable-semi-sync-replica",
        "disable-semi-sync-replica/{i}",
        DetailKey,
        "Semi-sync as a replica: off",
    ),
    planned("set-read-only", "set-read-only/{i}", DetailKey, "Refuse writes"),
    planned("set-writeable", "set-writeable/{i}", DetailKey, "Take writes"),
    planned("flush-binary-logs", "flush-binary-logs/{i}", DetailKey, "Begin a new binary log"),
    planned(
        "purge-binary-logs",
        "purge-binary-logs/{i}/{binlog}",
        DetailKey,
        "Drop older binary logs",
    ),
    command("which-gtid-errant", "instance/{i}", Field("GtidErrant"), "Errant transactions"),
    command("locate-gtid-errant", "locate-gtid-errant/{i}", DetailLines, "Binary logs they are in"),
    command("last-pseudo-gtid", "last-pseudo-gtid/{i}", Details, "The last Pseudo-GTID"),
    command(
        "restart-replica-statements",
        "restart-replica-statements/{i}?q={query}",
        Details,
        "What would be run",
    ),
    planned(
        "delay-replication",
        "delay-replication/{i}/{seconds}",
        Details,
        "Replicate that much later",
    ),
    command(
        "can-replicate-from",
        "can-replicate-from/{i}/{d}",
        DestinationIfTrue,
        "Whether it can",
    ),
    command(
        "can-replicate-from-gtid",
        "can-replicate-from-gtid/{i}/{d}",
        DestinationIfTrue,
        "Whether it can, by GTID",
    ),
    command("is-replicating", "instance/{i}", KeyIfThreads(1), "Print it if both threads run"),
    command(
        "is-replication-stopped",
        "instance/{i}",
        KeyIfThreads(0),
        "Print it if both are stopped",
    ),
    planned("recover", "recover/{i}/{d?}", DetailKey, "Recover from a failure"),
    planned("recover-lite", "recover-lite/{i}/{d?}", DetailKey, "The same, without hooks"),
    planned(
        "graceful-master-takeover",
        "graceful-master-takeover/{cluster}/{d?}",
        Successor,
        "Switch the primary over",
    ),
    planned(
        "graceful-master-takeover-auto",
        "graceful-master-takeover-auto/{cluster}/{d?}",
        Successor,
        "The same, with the old one replicating",
    ),
    planned(
        "force-master-failover",
        "force-master-failover/{cluster}",
        Successor,
        "Fail over, whatever is found",
    ),
    planned(
        "force-master-takeover",
        "force-master-takeover/{cluster}/{d}",
        Successor,
        "Fail over to this one",
    ),
    planned("rejoin", "rejoin/{i}", DetailKey, "Bring a former primary back as a replica"),
    command(
        "extra-transactions",
        "extra-transactions/{i}?events=true",
        Message,
        "What it has that its successor lacks",
    ),
    command(
        "failover-readiness",
        "failover-readiness/{cluster}",
        Readiness,
        "Who would be promoted if the primary died",
    ),
    command("explain", "explain/{i}", Message, "What baton thinks of it, and would do"),
    command(
        "hooks-preview",
        "hooks-preview/{cluster}",
        Message,
        "Hooks as they would run if it died now",
    ),
    command(
        "fleet-breaker",
        "fleet-breaker",
        DetailsAndMessage,
        "Whether so much failed that baton holds",
    ),
    command(
        "release-fleet-breaker",
        "release-fleet-breaker",
        DetailsAndMessage,
        "Let baton act all the same",
    ),
    command(
        "ack-cluster-recoveries",
        "ack-recovery/cluster/{cluster}?comment={reason}",
        Details,
        "Acknowledge recoveries of a cluster",
    ),
    command(
        "ack-all-recoveries",
        "ack-all-recoveries?comment={reason}",
        Details,
        "Acknowledge all recoveries",
    ),
    command(
        "disable-global-recoveries",
        "disable-global-recoveries",
        Details,
        "Switch automated recovery off",
    ),
    command("enable-global-recoveries", "enable-global-recoveries", Details, "Switch it on"),
    command("check-global-recoveries", "check-global-recoveries", Details, "Say which it is"),
    command("replication-analysis", "replication-analysis", Findings, "What is wrong"),
    command("raft-leader", "raft-leader", Lines, "The leader"),
    command("raft-health", "raft-health", Lines, "Whether the node is part of the group"),
    command("raft-leader-hostname", "status", NodeName, "Host name of the leader"),
    command("raft-elect-leader", "raft-yield-hint/{hostname}", Details, "Ask for another leader"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_slaves_are_replicas() {
        let mut names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert_eq!(find("stop-slave").map(|it| it.name), Some("stop-replica"));
        assert_eq!(find("which-slaves").map(|it| it.name), Some("which-replicas"));
        assert!(find("nonsense").is_none());
    }
}
