//! Somebody dies.

use serde_json::json;

use super::ci::{Ci, WHOLE, ours};

impl Ci {
    /// Has all replicas say that they lag by so many seconds.
    fn lag(&self, seconds: u32) {
        self.configure(&json!({"ReplicationLagQuery": format!("SELECT {seconds}")}));
        for name in [10112, 10113, 10114] {
            self.until_instance(name, "it lags", |it| {
                it["ReplicationLagSeconds"]["Int64"] == seconds
            });
        }
    }

    /// The primary dies, and somebody succeeds, with so many replicas; who is lost is told.
    fn fail_over(&mut self, replicas: usize) -> String {
        self.servers[0].kill_9();
        let successor = super::support::wait_until(super::support::PATIENCE, "a successor", || {
            let said = self.says("-c which-cluster-master -a ci");
            (said != ours(10111)).then_some(said)
        });
        let name = successor.rsplit(':').next().and_then(|port| port.parse().ok());
        self.until_instance(name.expect("a port"), "it is writable and has replicas", |it| {
            it["ReadOnly"] == false
                && it["Replicas"].as_array().is_some_and(|all| all.len() == replicas)
        });
        successor
    }
}

#[test]
fn a_dead_primary_is_succeeded_by_whom_the_rules_name() {
    let mut ci = Ci::start();

    // master-failover
    ci.fail_over(2);
    assert_eq!(ci.lost(), ours(10111));
    ci.redeploy();

    // master-failover-candidate
    ci.says("-c register-candidate -i 127.0.0.1:10113 --promotion-rule prefer");
    assert_eq!(ci.fail_over(2), ours(10113));
    assert_eq!(ci.lost(), ours(10111));
    ci.redeploy();

    // master-failover-candidate-lag: it gets what it lacks from another (I4).
    ci.says("-c register-candidate -i 127.0.0.1:10113 --promotion-rule prefer");
    ci.leave_behind(&[10113]);
    assert_eq!(ci.fail_over(2), ours(10113));
    assert_eq!(ci.lost(), ours(10111));
    ci.redeploy();

    // master-failover-candidate-lag-cross-datacenter
    ci.configure(&json!({"PreventCrossDataCenterMasterFailover": true}));
    ci.says("-c register-candidate -i 127.0.0.1:10113 --promotion-rule prefer");
    ci.leave_behind(&[10112]);
    assert_eq!(ci.fail_over(2), ours(10112));
    assert_eq!(ci.lost(), ours(10111));
    ci.redeploy();
}

#[test]
fn a_dead_primary_is_not_succeeded_by_whom_the_rules_forbid() {
    let mut ci = Ci::start();

    // master-failover-candidate-lag-cross-region
    ci.says("-c register-candidate -i 127.0.0.1:10113 --promotion-rule prefer");
    ci.leave_behind(&[10112, 10113]);
    assert_eq!(ci.fail_over(2), ours(10113));
    assert_eq!(ci.lost(), ours(10111));
    ci.redeploy();

    // master-failover-lost-replicas: a replica that may not be promoted and is ahead is not lost, as it would be with
    // orchestrator; it feeds the new primary and follows it.
    ci.says("-c register-candidate -i 127.0.0.1:10112 --promotion-rule must_not");
    ci.leave_behind(&[10113, 10114]);
    let ahead = ci.servers[1].executed();
    assert_eq!(ci.fail_over(2), ours(10113));
    assert_eq!(ci.lost(), ours(10111));
    let kept = format!("SELECT GTID_SUBSET('{ahead}', @@global.gtid_executed)");
    assert_eq!(ci.servers[2].value(&kept), "1");
    ci.until_says("-c is-replicating -i 127.0.0.1:10112", &ours(10112));
    ci.redeploy();

    // master-failover-fail-promotion-lag-minutes-failure: nobody is promoted, and unlike with orchestrator nobody is
    // moved or given up.
    ci.lag(61);
    ci.servers[0].kill_9();
    let alone = "127.0.0.1:10111|unknown|invalid
- 127.0.0.1:10112|null|nonreplicating
- 127.0.0.1:10113|null|nonreplicating
- 127.0.0.1:10114|null|nonreplicating";
    ci.until_topology(alone);
    let port = ci.servers[0].port;
    // I13
    ci.baton.until(&format!("/api/explain/127.0.0.1/{port}"), "it says why", |it| {
        it["Message"].as_str()?.contains("FailMasterPromotionOnLagMinutes").then_some(())
    });
    assert_eq!(ci.says("-c which-cluster-master -a ci"), ours(10111));
    assert_eq!(ci.instance(10111)["ReadOnly"], false);
    assert_eq!(ci.says("-c downtimed"), "");

    // master-failover-fail-promotion-lag-minutes-success: what stood against it is gone.
    ci.redeploy();
    ci.lag(59);
    ci.fail_over(2);
    assert_eq!(ci.lost(), ours(10111));
}

#[test]
fn orphans_of_intermediate_sources_find_another() {
    let mut ci = Ci::start();

    // intermediate-master-replica-failure
    ci.says("-c relocate -i 127.0.0.1:10113 -d 127.0.0.1:10112");
    ci.says("-c relocate -i 127.0.0.1:10114 -d 127.0.0.1:10113");
    ci.until_topology(
        "127.0.0.1:10111|0s|ok
+ 127.0.0.1:10112|0s|ok
  + 127.0.0.1:10113|0s|ok
    + 127.0.0.1:10114|0s|ok",
    );
    ci.servers[3].kill_9();
    ci.until_instance(10114, "it is known dead", |it| it["IsLastCheckValid"] == false);
    let found = ci.says("-c replication-analysis");
    assert!(!found.contains("DeadIntermediateMaster") && !found.contains(":10113 "), "{found}");
    ci.servers[3].restart();
    ci.says("-c start-replica -i 127.0.0.1:10114");
    ci.says("-c relocate -i 127.0.0.1:10114 -d 127.0.0.1:10111");

    // intermediate-master-failover
    ci.until_topology(
        "127.0.0.1:10111|0s|ok
+ 127.0.0.1:10112|0s|ok
  + 127.0.0.1:10113|0s|ok
+ 127.0.0.1:10114|0s|ok",
    );
    ci.servers[1].kill_9();
    ci.until_says("-c which-master -i 127.0.0.1:10113", &ours(10114));
    ci.says("-c ack-all-recoveries -r system-tests");
    ci.until_says("-c is-replicating -i 127.0.0.1:10113", &ours(10113));
    ci.servers[3].kill_9();
    ci.until_says("-c which-master -i 127.0.0.1:10113", &ours(10111));
    ci.until_says("-c is-replicating -i 127.0.0.1:10113", &ours(10113));
    assert_eq!(ci.says("-c downtimed"), "");
    ci.redeploy();

    // recover: nothing happens by itself, and then what somebody asks for.
    ci.configure(&json!({"RecoverMasterClusterFilters": []}));
    ci.servers[0].kill_9();
    ci.until_topology(
        "127.0.0.1:10111|unknown|invalid
- 127.0.0.1:10112|null|nonreplicating
- 127.0.0.1:10113|null|nonreplicating
- 127.0.0.1:10114|null|nonreplicating",
    );
    let done = ci.says("-c recover -i 127.0.0.1:10111 -d 127.0.0.1:10113");
    assert_eq!(done, ours(10113));
    ci.until_topology(
        "127.0.0.1:10113|0s|ok
+ 127.0.0.1:10112|0s|ok
+ 127.0.0.1:10114|0s|ok",
    );
    ci.redeploy();
    ci.until_topology(WHOLE);

    // audit-recovery-active: a recovery is listed as active while its hooks run, and no longer.
    ci.configure(&json!({"RecoverMasterClusterFilters": [], "PreFailoverProcesses": ["sleep 1"]}));
    let newest = |ci: &Ci| ci.baton.get("/api/audit-recovery/alias/ci")[0]["Id"].as_u64();
    let before = newest(&ci);
    ci.servers[0].kill_9();
    ci.baton.until_found(&ci.servers[0], "DeadMaster");
    let path = "recover/127.0.0.1/10111/127.0.0.1/10113";
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ci.says(&format!("-c api -P {path}")));
        ci.baton.until("/api/audit-recovery/alias/ci?activeOnly=true", "it is active", |it| {
            (it[0]["Id"].as_u64() > before && it[0]["RecoveryEndTimestamp"] == "").then_some(())
        });
        assert!(asked.join().expect("it is answered").contains("Recovery executed"));
    });
    let ended = ci.baton.get("/api/audit-recovery/alias/ci")[0].clone();
    assert_eq!((&ended["IsSuccessful"], ended["Id"].as_u64()), (&json!(true), newest(&ci)));
    assert_ne!(ended["RecoveryEndTimestamp"], "");
    assert_eq!(ci.baton.get("/api/audit-recovery/alias/ci?activeOnly=true"), json!([]));
}
