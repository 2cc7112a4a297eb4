use super::*;
use crate::reading::RawTable;
use crate::testing::key;

const U: &str = "00000000-0000-0000-0000-000000000001";

fn of_mysql(numbers: &str) -> Extra {
    Extra::MySql(format!("{U}:{numbers}").parse().unwrap())
}

fn events(rows: &[(u64, u64, &str, &str)]) -> RawTable {
    let cell = |text: &str| Some(text.as_bytes().to_vec());
    RawTable {
        columns: ["Pos", "End_log_pos", "Event_type", "Info"].map(str::to_owned).into(),
        rows: rows
            .iter()
            .map(|(at, end, kind, info)| {
                vec![cell(&at.to_string()), cell(&end.to_string()), cell(kind), cell(info)]
            })
            .collect(),
    }
}

#[test]
fn what_is_extra_is_told_by_sets_or_by_log_state() {
    let mariadb = Extra::MariaDb(LogState::parse("0-1-100,0-2-110,1-1-5"));
    for (case, extra, gtid, expected) in [
        ("one of the set", of_mysql("5-7"), format!("{U}:6"), true),
        ("none of it", of_mysql("5-7"), format!("{U}:8"), false),
        ("another tag is another transaction", of_mysql("5-7"), format!("{U}:tag:6"), false),
        ("no transaction", of_mysql("5-7"), "ANONYMOUS".into(), false),
        ("logged there", mariadb.clone(), "0-1-100".into(), false),
        ("later than what that server wrote there", mariadb.clone(), "0-1-101".into(), true),
        ("lower than another server's is no proof", mariadb.clone(), "0-3-50".into(), true),
        ("another domain", mariadb.clone(), "1-1-6".into(), true),
        ("no transaction", mariadb, "0-1".into(), false),
    ] {
        assert_eq!(extra.has(&gtid), expected, "{case}: {gtid}");
    }
}

#[test]
fn logs_that_begin_before_anything_extra_are_the_last_to_be_read() {
    let mariadb = Extra::MariaDb(LogState::parse("0-1-100,0-2-110"));
    for (extra, list, expected) in [
        (of_mysql("5-7"), format!("{U}:1-4"), true),
        (of_mysql("5-7"), format!("{U}:1-5"), false),
        (of_mysql("5-7"), String::new(), true),
        (mariadb.clone(), "[0-1-99]".into(), true),
        (mariadb.clone(), "[0-1-101]".into(), false),
        (mariadb.clone(), "[0-2-7,0-1-100]".into(), true),
        (mariadb, "[]".into(), true),
    ] {
        assert_eq!(extra.begins_after(&list), expected, "{list}");
    }
}

#[test]
fn transactions_are_picked_with_their_places_and_events() {
    let mut scan = Scan::new(of_mysql("2:4"));
    let next = |number: u64| format!("SET @@SESSION.GTID_NEXT= '{U}:{number}'");
    let (one, two, four) = (next(1), next(2), next(4));
    let rows = [
        (4, 126, "Format_desc", "Server ver: 9.7.0"),
        (126, 157, "Previous_gtids", ""),
        (157, 200, "Gtid", one.as_str()),
        (200, 300, "Query", "use `a`; CREATE TABLE t (i INT)"),
        (300, 350, "Gtid", two.as_str()),
        (350, 380, "Query", "BEGIN"),
        (380, 420, "Table_map", "table_id: 90 (a.t)"),
        (420, 470, "Write_rows", "table_id: 90 flags: STMT_END_F"),
        (470, 500, "Xid", "COMMIT /* xid=9 */"),
        (500, 550, "Gtid", four.as_str()),
        (550, 600, "Query", "DROP TABLE t"),
        (600, 620, "Rotate", "binlog.000002;pos=4"),
    ];
    assert_eq!(scan.take("binlog.000001", &events(&rows)), None);
    assert_eq!(scan.take("binlog.000002", &events(&[(4, 126, "Query", "of nobody")])), None);
    let found = scan.finish();
    let places: Vec<_> =
        found.iter().map(|it| (it.gtid.as_str(), it.begins_at, it.ends_at)).collect();
    assert_eq!(
        places,
        [(&*format!("{U}:2"), 300, 500), (&*format!("{U}:4"), 500, 600)],
        "{found:#?}"
    );
    assert_eq!(found[0].events[1], "Table_map table_id: 90 (a.t)");
    assert_eq!(found[1].events, ["Query DROP TABLE t"]);
}

#[test]
fn mariadb_names_transactions_in_its_own_way() {
    let mut scan = Scan::new(Extra::MariaDb(LogState::parse("0-1-7")));
    let rows = [
        (4, 256, "Format_desc", "Server ver: 10.11"),
        (256, 300, "Gtid_list", "[0-1-6]"),
        (300, 340, "Gtid", "BEGIN GTID 0-1-7 cid=3"),
        (340, 380, "Xid", "COMMIT /* xid=3 */"),
        (380, 420, "Gtid", "BEGIN GTID 0-1-8"),
        (420, 460, "Annotate_rows", "INSERT INTO t VALUES (1)"),
        (460, 500, "Xid", "COMMIT /* xid=4 */"),
        (500, 540, "Gtid", "GTID 0-1-9"),
        (540, 600, "Query", "use `a`; DROP TABLE t"),
    ];
    assert_eq!(scan.take("log.1", &events(&rows)), None);
    let found = scan.finish();
    let gtids: Vec<&str> = found.iter().map(|it| it.gtid.as_str()).collect();
    assert_eq!(gtids, ["0-1-8", "0-1-9"]);
    let lines = commands_for_range(&key("db1"), &found);
    assert_eq!(
        lines[0].line,
        "mariadb-binlog --read-from-remote-server --host=db1 --port=3306 --start-position=380 \
         --stop-position=600 --base64-output=DECODE-ROWS --verbose log.1"
    );
}

#[test]
fn a_scan_goes_on_where_it_stopped_and_has_an_end() {
    let full: Vec<(u64, u64, &str, &str)> = (0..u64::from(EVENTS_PER_QUESTION))
        .map(|number| (4 + number, 5 + number, "Query", "BEGIN"))
        .collect();
    let mut scan = Scan::new(of_mysql("1"));
    assert_eq!(scan.take("a", &events(&full)), Some(4 + u64::from(EVENTS_PER_QUESTION)));
    assert_eq!(scan.limit(), None);
    for _ in 0..2_500 {
        scan.take("a", &events(&full));
    }
    assert!(scan.limit().unwrap().contains("500000 events were read"));

    // A single huge transaction is cut, and counted.
    let mut scan = Scan::new(of_mysql("1"));
    let begin = format!("SET @@SESSION.GTID_NEXT= '{U}:1'");
    scan.take("a", &events(&[(4, 5, "Gtid", begin.as_str())]));
    scan.take("a", &events(&full));
    assert_eq!(scan.finish()[0].events.len(), 0, "a log's end is a transaction's end");
    let mut scan = Scan::new(of_mysql("1"));
    let mut rows = full.clone();
    rows[0] = (4, 5, "Gtid", begin.as_str());
    scan.take("a", &events(&rows));
    scan.take("a", &events(&full));
    let found = scan.finish();
    assert_eq!((found[0].events.len(), found[0].more), (20, 379));
}

#[test]
fn names_of_servers_and_logs_are_words_for_a_shell() {
    let set: GtidSet = format!("{U}:5-7").parse().unwrap();
    let logs = ["binlog.000001".to_owned(), "it's".to_owned()];
    let odd = InstanceKey::new("$(reboot)", 3306);
    let lines = commands_for_set(&odd, &set, &logs);
    assert_eq!(
        lines[0].line,
        format!(
            "mysqlbinlog --read-from-remote-server --host='$(reboot)' --port=3306 \
             --include-gtids={U}:5-7 --base64-output=DECODE-ROWS --verbose binlog.000001 'it'\\''s'"
        )
    );
    assert!(lines[1].line.ends_with(">> 'extra-$(reboot)-3306.sql'"), "{}", lines[1].line);
    assert!(commands_for_set(&odd, &set, &[]).is_empty(), "nothing to read");
}
