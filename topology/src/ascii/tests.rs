use std::sync::Arc;

use super::*;
use crate::fleet::{FleetInput, advance};
use crate::instance::{Facts, ThreadState};
use crate::ledger::Downtime;
use crate::testing::{answered, key, primary_facts, refused, replica_facts};

fn fleet(servers: &[(&str, Facts)]) -> FleetSnapshot {
    let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
    let probes = servers
        .iter()
        .map(|(name, facts)| FleetInput::Probed(answered(name, 10, facts.clone())))
        .collect();
    advance(&empty, probes, Timestamp::from_secs(10)).snapshot
}

fn draw(fleet: &FleetSnapshot, style: Style) -> String {
    let cluster = fleet.clusters.values().next().unwrap();
    topology(cluster, fleet, style, Timestamp::from_secs(12))
}

fn replica(source: &str) -> Facts {
    replica_facts(&key(source))
}

fn star() -> FleetSnapshot {
    fleet(&[
        ("p", primary_facts()),
        ("r1", replica("p")),
        ("r2", replica("p")),
        ("l", replica("r1")),
    ])
}

#[test]
fn a_tree_is_drawn_depth_first() {
    let aligned = "\
p:3306     [0s,ok,8.4.3,rw,ROW,>>,GTID]
+ r1:3306  [0s,ok,8.4.3,ro,ROW,>>,GTID]
  + l:3306 [0s,ok,8.4.3,ro,ROW,>>,GTID]
+ r2:3306  [0s,ok,8.4.3,ro,ROW,>>,GTID]";
    assert_eq!(draw(&star(), Style::Plain), aligned);
}

#[test]
fn what_does_not_answer_and_what_does_not_replicate_is_told() {
    let mut stopped = replica("p");
    stopped.channels[0].applier = ThreadState::Stopped;
    let fleet = fleet(&[("p", primary_facts()), ("r1", stopped), ("r2", replica("p"))]);
    let dead = FleetInput::Probed(refused("p", 11));
    let fleet = advance(&fleet, vec![dead], Timestamp::from_secs(11)).snapshot;
    assert_eq!(
        draw(&fleet, Style::Tabulated),
        "\
p:3306   |unknown|invalid       |8.4.3|rw|ROW|>>,GTID
- r1:3306|   null|nonreplicating|8.4.3|ro|ROW|>>,GTID
+ r2:3306|     0s|ok            |8.4.3|ro|ROW|>>,GTID"
    );
}

#[test]
fn extras_are_told_in_order_and_empty_columns_are_dropped() {
    let mut facts = primary_facts();
    facts.semi_sync.source_active = true;
    facts.binlog.enabled = false;
    facts.alias = "alpha".into();
    facts.gtid.mode = "OFF".into();
    let mut fleet = fleet(&[("p", facts)]);
    let mut ledger = (*fleet.ledger).clone();
    let downtime = Downtime {
        owner: "o".into(),
        reason: "r".into(),
        begins_at: Timestamp::EPOCH,
        ends_at: Timestamp::from_secs(99),
    };
    ledger.downtimes.insert_mut(key("p"), downtime);
    let tags = [("role", "backup"), ("plain", "")];
    let tags = tags.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    ledger.tags.insert_mut(key("p"), tags);
    fleet.ledger = Arc::new(ledger);
    assert_eq!(
        draw(&fleet, Style::Tags),
        "p:3306 (alpha) [0s,ok,8.4.3,rw,nobinlog,semi:master,downtimed] [plain,role=backup]"
    );
}

#[test]
fn co_primaries_are_drawn_beside_each_other() {
    let ring = Facts { read_only: false, ..replica("b") };
    let fleet = fleet(&[("a", ring), ("b", replica("a")), ("c", replica("b"))]);
    assert_eq!(
        draw(&fleet, Style::Plain),
        "\
+ a:3306   [0s,ok,8.4.3,rw,ROW,>>,GTID]
+ b:3306   [0s,ok,8.4.3,ro,ROW,>>,GTID]
  + c:3306 [0s,ok,8.4.3,ro,ROW,>>,GTID]"
    );
}

#[test]
fn a_longer_ring_is_drawn_once() {
    let fleet = fleet(&[("a", replica("c")), ("b", replica("a")), ("c", replica("b"))]);
    let drawn = draw(&fleet, Style::Plain);
    assert_eq!(drawn.lines().count(), 3, "{drawn}");
}
