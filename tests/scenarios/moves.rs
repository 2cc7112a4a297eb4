//! What is known, and what people rearrange.

use super::ci::{Ci, WHOLE, ours};

#[test]
fn servers_are_listed_and_moved() {
    let ci = Ci::start();
    ci.says("-c begin-downtime -i 127.0.0.1:10114 -o test -r test -u 10s");
    assert_eq!(ci.says("-c downtimed"), ours(10114));

    // all-instances
    let all = "127.0.0.1:10111\n127.0.0.1:10112\n127.0.0.1:10113\n127.0.0.1:10114";
    assert_eq!(ci.says("-c all-instances"), all);
    let counts: Vec<usize> = [10111, 10112, 10113, 10114]
        .map(|name| ci.instance(name)["Replicas"].as_array().map_or(9, Vec::len))
        .into();
    assert_eq!(counts, [3, 0, 0, 0]);

    // relocate-single
    let relocate = |it: u16, below: u16| {
        let said = ci.says(&format!("-c relocate -i 127.0.0.1:{it} -d 127.0.0.1:{below}"));
        assert_eq!(said, format!("127.0.0.1:{it}<127.0.0.1:{below}"));
        assert_eq!(ci.says(&format!("-c which-master -i 127.0.0.1:{it}")), ours(below));
    };
    relocate(10113, 10112);
    relocate(10113, 10111);

    // relocate-multiple
    relocate(10113, 10112);
    relocate(10114, 10113);
    ci.until_topology(
        "127.0.0.1:10111|0s|ok
+ 127.0.0.1:10112|0s|ok
  + 127.0.0.1:10113|0s|ok
    + 127.0.0.1:10114|0s|ok",
    );
    relocate(10114, 10111);
    relocate(10113, 10111);

    // relocate-replicas
    let moved = ci.says("-c relocate-replicas -i 127.0.0.1:10111 -d 127.0.0.1:10112");
    assert_eq!(moved, "127.0.0.1:10113\n127.0.0.1:10114");
    ci.until_topology(
        "127.0.0.1:10111|0s|ok
+ 127.0.0.1:10112|0s|ok
  + 127.0.0.1:10113|0s|ok
  + 127.0.0.1:10114|0s|ok",
    );
    let moved = ci.says("-c relocate-replicas -i 127.0.0.1:10112 -d 127.0.0.1:10111");
    assert_eq!(moved, "127.0.0.1:10113\n127.0.0.1:10114");
    ci.until_topology(WHOLE);

    // downtime
    ci.until_says("-c downtimed", "");
    ci.says("-c begin-downtime -i 127.0.0.1:10114 -o test -r test");
    let until = ci.instance(10114)["DowntimeEndTimestamp"].as_str().map(str::to_owned);
    assert!(until.is_some_and(|until| !until.is_empty()));
    assert_eq!(ci.says("-c downtimed"), ours(10114));
    ci.says("-c end-downtime -i 127.0.0.1:10114");
    assert_eq!(ci.says("-c downtimed"), "");
}

#[test]
fn two_become_co_masters_and_one_of_them_dies() {
    let mut ci = Ci::start();

    // make-co-master
    let made = ci.says("-c make-co-master -i 127.0.0.1:10113");
    assert_eq!(made, "127.0.0.1:10113<127.0.0.1:10111");
    for name in [10111, 10113] {
        ci.until_instance(name, "it is a co-master", |it| it["IsCoMaster"] == true);
    }
    ci.until_topology(
        "+ 127.0.0.1:10111|0s|ok
  + 127.0.0.1:10112|0s|ok
  + 127.0.0.1:10114|0s|ok
+ 127.0.0.1:10113|0s|ok",
    );
    let told = ci.refuses("-c make-co-master -i 127.0.0.1:10113");
    let expected = "instance 127.0.0.1:10113 is already co master of 127.0.0.1:10111";
    assert!(told.contains(expected), "{told}");
    let moved = ci.says("-c relocate -i 127.0.0.1:10114 -d 127.0.0.1:10113");
    assert_eq!(moved, "127.0.0.1:10114<127.0.0.1:10113");
    ci.until_topology(
        "+ 127.0.0.1:10111|0s|ok
  + 127.0.0.1:10112|0s|ok
+ 127.0.0.1:10113|0s|ok
  + 127.0.0.1:10114|0s|ok",
    );

    // co-master-failover
    ci.servers[2].kill_9();
    ci.until_says("-c which-master -i 127.0.0.1:10114", &ours(10111));
    assert_eq!(ci.says("-c which-cluster-master -a ci"), ours(10111));
    ci.until_instance(10111, "it has two replicas and is writable", |it| {
        it["Replicas"].as_array().is_some_and(|all| all.len() == 2) && it["ReadOnly"] == false
    });
    ci.until_says("-c downtimed", &ours(10113));
    assert_eq!(ci.lost(), ours(10113));
    let found = ci.says("-c replication-analysis");
    // And that nobody could close it, which a person has to see to.
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), 2, "{found}");
    assert!(lines[0].ends_with(": DeadCoMaster"), "{found}");
    assert!(lines[1].ends_with(": FormerMasterNotFenced"), "{found}");
    // I9: it tries to reach the other, should that come back.
    let receiver = ci.servers[0].replica_status("", "IO_Running");
    assert_eq!(receiver.as_deref(), Some("Connecting"));
    ci.redeploy();
}
