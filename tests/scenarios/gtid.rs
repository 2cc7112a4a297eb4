//! Transactions that only one server has.

use super::ci::{Ci, WHOLE, ours};

impl Ci {
    /// Call names of everybody with errant transactions.
    fn errant(&self) -> Vec<u16> {
        let all = self.baton.get("/api/all-instances");
        let errant = all.as_array().into_iter().flatten().filter(|it| it["GtidErrant"] != "");
        errant.filter_map(|it| self.inward(&it["Key"]["Port"].to_string()).parse().ok()).collect()
    }

    fn until_errant(&self, expected: &[u16]) {
        super::support::wait_until(
            super::support::PATIENCE,
            &format!("errant: {expected:?}"),
            || (self.errant() == expected).then_some(()),
        );
    }
}

#[test]
fn errant_transactions_are_seen_and_dealt_with() {
    let ci = Ci::start();

    // gtid-no-errant
    ci.until_errant(&[]);
    for command in ["gtid-errant-reset-master", "gtid-errant-inject-empty"] {
        let told = ci.refuses(&format!("-c {command} -i 127.0.0.1:10112"));
        assert!(told.contains(&format!("{command} will not operate on 127.0.0.1:10112")), "{told}");
    }

    // gtid-errant
    let own = "UPDATE test.heartbeat SET hint = UUID()";
    ci.server(10112).exec(own);
    ci.until_errant(&[10112]);
    assert_eq!(ci.says("-c gtid-errant-reset-master -i 127.0.0.1:10112"), ours(10112));
    ci.until_errant(&[]);
    ci.until_topology(WHOLE);
    ci.says("-c relocate -i 127.0.0.1:10114 -d 127.0.0.1:10113");
    ci.server(10113).exec(own);
    ci.until_errant(&[10113]);
    ci.says("-c relocate -i 127.0.0.1:10114 -d 127.0.0.1:10111");
    ci.until_errant(&[10113, 10114]);
    assert_eq!(ci.says("-c gtid-errant-inject-empty -i 127.0.0.1:10113"), ours(10113));
    ci.until_errant(&[]);

    // The same with tags.
    ci.says("-c relocate -i 127.0.0.1:10114 -d 127.0.0.1:10113");
    let uuid = ci.server(10113).value("SELECT @@server_uuid");
    let tagged = ["tag1:1", "tag1:2", "tag1:4", "tag1:5", "tag1:7", "tag2:100", "tag2:101"];
    let tagged = tagged.into_iter().chain(["tag3:4", "tag3:5"]);
    let statements =
        tagged.map(|it| format!("SET gtid_next = '{uuid}:{it}'; BEGIN; {own}; COMMIT; "));
    let statements: String = statements.collect();
    ci.server(10113).exec(&format!("{statements}SET gtid_next = 'AUTOMATIC'"));
    ci.until_errant(&[10113]);
    ci.until_says(
        "-c which-gtid-errant -i 127.0.0.1:10113",
        &format!("{uuid}:tag1:1-2:4-5:7:tag2:100-101:tag3:4-5"),
    );
    ci.until_topology(
        "127.0.0.1:10111|0s|ok
+ 127.0.0.1:10112|0s|ok
+ 127.0.0.1:10113|0s|ok
  + 127.0.0.1:10114|0s|ok",
    );
    let row = ci.says("-c topology-tabulated -a ci");
    assert!(row.lines().any(|it| it.contains("10113") && it.contains("GTID:errant")), "{row}");
    assert_eq!(ci.says("-c gtid-errant-inject-empty -i127.0.0.1:10113"), ours(10113));
    ci.until_errant(&[]);
    ci.says("-c relocate -i 127.0.0.1:10114 -d 127.0.0.1:10111");
    ci.until_topology(WHOLE);
}
