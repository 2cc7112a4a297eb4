//! A primary hands over in peace, or does not.

use super::ci::{Ci, WHOLE, ours};
use super::support::{PATIENCE, wait_until};

const HAND_OVER: &str = "-c graceful-master-takeover -a ci";

#[test]
fn a_primary_hands_over_and_takes_back() {
    let ci = Ci::start();

    // graceful-master-takeover-fail-*
    let told = ci.refuses(HAND_OVER);
    assert!(told.contains("GracefulMasterTakeover: target instance not indicated"), "{told}");
    let told = ci.refuses(&format!("{HAND_OVER} -d 127.0.0.1:10999"));
    let expected = "127.0.0.1:10999 must be directly replicating from the master";
    assert!(told.contains(expected), "{told}");
    ci.says("-c relocate -i 127.0.0.1:10112 -d 127.0.0.1:10113");
    let told = ci.refuses(&format!("{HAND_OVER} -d 127.0.0.1:10112"));
    let expected = "127.0.0.1:10112 must be directly replicating from the master";
    assert!(told.contains(expected), "{told}");
    ci.says("-c relocate -i 127.0.0.1:10112 -d 127.0.0.1:10111");
    let told = ci.refuses(&format!("{HAND_OVER} -d 127.0.0.1:10114"));
    assert!(told.contains("PreventCrossRegionMasterFailover"), "{told}");
    // The vetoes come before anybody is moved, so there is nobody to move back.
    assert_eq!(ci.says("-c relocate-replicas -i 127.0.0.1:10114 -d 127.0.0.1:10111"), "");
    ci.until_topology(WHOLE);
    assert_eq!(ci.instance(10111)["ReadOnly"], false);

    // graceful-master-takeover
    assert_eq!(ci.says(&format!("{HAND_OVER} -d 127.0.0.1:10112")), ours(10112));
    assert_eq!(ci.says("-c which-cluster-master -a ci"), ours(10112));
    assert_eq!(ci.says("-c is-replicating -i 127.0.0.1:10111"), "");
    assert_eq!(ci.says("-c is-replication-stopped -i 127.0.0.1:10111"), ours(10111));
    assert_eq!(ci.says("-c start-replica -i 127.0.0.1:10111"), ours(10111));
    ci.until_says("-c is-replicating -i 127.0.0.1:10111", &ours(10111));
    ci.until_topology(
        "127.0.0.1:10112|0s|ok
+ 127.0.0.1:10111|0s|ok
+ 127.0.0.1:10113|0s|ok
+ 127.0.0.1:10114|0s|ok",
    );
    ci.tidy_up();
    assert_eq!(ci.says(&format!("{HAND_OVER} -d 127.0.0.1:10111")), ours(10111));
    assert_eq!(ci.says("-c start-replica -i 127.0.0.1:10112"), ours(10112));
    ci.until_topology(WHOLE);

    // graceful-master-takeover-auto: whoever is in the primary's data centre goes first.
    assert_eq!(ci.says("-c graceful-master-takeover-auto -a ci"), ours(10112));
    ci.until_says("-c is-replicating -i 127.0.0.1:10111", &ours(10111));
    ci.until_topology(
        "127.0.0.1:10112|0s|ok
+ 127.0.0.1:10111|0s|ok
+ 127.0.0.1:10113|0s|ok
+ 127.0.0.1:10114|0s|ok",
    );
    ci.tidy_up();
    let back = "-c graceful-master-takeover-auto -a ci -d 127.0.0.1:10111";
    assert_eq!(ci.says(back), ours(10111));
    ci.until_says("-c is-replicating -i 127.0.0.1:10112", &ours(10112));
    ci.until_topology(WHOLE);
    assert_eq!(ci.says("-c downtimed"), "");
}

#[test]
fn who_does_not_replicate_cannot_take_over() {
    let ci = Ci::start();
    ci.leave_behind(&[10112]);
    ci.refuses(&format!("{HAND_OVER} -d 127.0.0.1:10112"));
    // Everybody stays where he was, and writes go on.
    ci.until_topology(
        "127.0.0.1:10111|0s|ok
- 127.0.0.1:10112|null|nonreplicating
+ 127.0.0.1:10113|0s|ok
+ 127.0.0.1:10114|0s|ok",
    );
    assert_eq!(ci.instance(10111)["ReadOnly"], false);
    ci.says("-c start-replica -i 127.0.0.1:10112");
    ci.until_topology(WHOLE);

    // recover-read-only-master
    ci.servers[0].exec("SET GLOBAL read_only = ON");
    wait_until(PATIENCE, "the primary is writable again", || {
        (ci.servers[0].value("SELECT @@global.read_only") == "0").then_some(())
    });
    assert_eq!(ci.says("-c downtimed"), "");
    ci.until_topology(WHOLE);
}
