//! Groups choose their primary themselves.

use super::gate::supposed;
use super::*;
use crate::cluster::Member;
use crate::instance::{GroupKind, GroupMember, Instance};
use crate::recovery::plan::roll_back;

const GROUP: &str = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";

fn membership(role: &str, kind: GroupKind) -> GroupMember {
    GroupMember {
        kind,
        name: GROUP.into(),
        is_single_primary: kind == GroupKind::GroupReplication,
        state: "ONLINE".into(),
        role: role.into(),
        members: ["p", "s"].map(key).into(),
        primary: Some(key("p")).filter(|_| kind == GroupKind::GroupReplication),
        ..GroupMember::default()
    }
}

fn in_group(base: Facts, role: &str, kind: GroupKind) -> Facts {
    Facts { group: Some(membership(role, kind)), ..base }
}

fn fleet(servers: &[(&str, Facts)], dead: &[&str]) -> FleetSnapshot {
    let policy = Arc::new(everywhere());
    let empty = FleetSnapshot::empty(policy, Arc::default(), Timestamp::from_secs(0));
    let seen = servers.iter().map(|(name, facts)| answered(name, 10, facts.clone()));
    let mut inputs: Vec<FleetInput> = seen.map(FleetInput::Probed).collect();
    inputs.extend(dead.iter().map(|name| FleetInput::Probed(refused(name, 20))));
    advance(&empty, inputs, now()).snapshot
}

/// A group of `p` and `s`, and an asynchronous replica `a` of `p`.
fn group(kind: GroupKind, change: impl Fn(&mut GroupMember), dead: &[&str]) -> FleetSnapshot {
    let role = if kind == GroupKind::Galera { "PRIMARY" } else { "SECONDARY" };
    let mut p = in_group(primary_facts(), "PRIMARY", kind);
    p.server_uuid = Some(P.parse().unwrap());
    p.gtid.executed = of_p("1-9");
    let mut s = in_group(primary_facts(), role, kind);
    s.server_uuid = Some(uuid("s"));
    s.gtid.executed = of_p("1-9");
    s.read_only = kind == GroupKind::GroupReplication;
    for facts in [&mut p, &mut s] {
        change(facts.group.as_mut().unwrap());
    }
    let mut a = replica("a", "1-9", "1-9").1;
    if dead.is_empty() {
        a.channels[0].receiver = ThreadState::Running;
    }
    fleet(&[("p", p), ("s", s), ("a", a)], dead)
}

#[test]
fn members_are_not_closed_opened_or_put_below_anybody() {
    for kind in [GroupKind::GroupReplication, GroupKind::Galera] {
        let fleet = group(kind, |_| {}, &[]);
        let reason = match kind {
            GroupKind::GroupReplication => "group_replication_set_as_primary",
            GroupKind::Galera => "Galera cluster",
        };
        for (cause, wanted) in [
            (Cause::Takeover, Some("s")),
            (Cause::TakeoverAuto, Some("a")),
            (Cause::ForcedFailover, None),
            (Cause::ForcedTakeover, Some("a")),
            (Cause::Rejoin, Some("a")),
        ] {
            let told = begin(&request(cause, wanted), &fleet, &runner(), now()).unwrap_err();
            let told = told.to_string();
            assert!(told.starts_with("p:3306 is a") && told.contains(reason), "{cause:?}: {told}");
        }
        let recovery = supposed(&key("p"), &fleet, &runner(), now()).unwrap();
        assert_eq!(recovery.replicas, [key("a")], "members are no replicas");
        let cluster = fleet.cluster_with(&key("p")).unwrap();
        let ready = preview::readiness(cluster, &fleet, &runner(), now()).unwrap();
        assert_eq!(ready.successor, None);
        assert!(ready.obstacles[0].contains(reason), "{:?}", ready.obstacles);
    }
}

#[test]
fn a_dead_members_replicas_go_to_another_member_where_they_find_their_place() {
    let asked = request(Cause::Found, None);
    let moved = |fleet: &FleetSnapshot| outcome(fleet, &asked);
    assert_eq!(moved(&group(GroupKind::GroupReplication, |_| {}, &["p"])), "s");
    assert_eq!(moved(&group(GroupKind::Galera, |_| {}, &["p"])), "s");
    let told = moved(&group(GroupKind::Galera, |it| it.has_own_gtids = true, &["p"]));
    assert!(told.starts_with("no: ") && told.contains("wsrep_gtid_mode"), "{told}");
    for change in [
        |it: &mut GroupMember| it.state = "RECOVERING".into(),
        |it: &mut GroupMember| it.has_lost_majority = true,
    ] {
        let told = moved(&group(GroupKind::GroupReplication, change, &["p"]));
        assert!(told.contains("nobody else in the cluster"), "{told}");
    }
}

#[test]
fn a_group_of_which_nobody_answers_can_be_given_up() {
    let dead = group(GroupKind::GroupReplication, |_| {}, &["p", "s"]);
    assert!(outcome(&dead, &request(Cause::Asked, None)).starts_with("no: "));
    assert_eq!(outcome(&dead, &request(Cause::ForcedFailover, None)), "a");
    let lives = group(GroupKind::GroupReplication, |_| {}, &["p"]);
    assert!(outcome(&lives, &request(Cause::ForcedFailover, None)).starts_with("no: "));
}

#[test]
fn nobody_is_opened_beside_a_group_for_one_who_left_it() {
    for (case, read_only, expected) in [
        ("it was closed when it left", true, "no: p:3306 left its group"),
        ("and opened on purpose", false, "a"),
    ] {
        let mut p = in_group(primary_facts(), "", GroupKind::GroupReplication);
        p.server_uuid = Some(P.parse().unwrap());
        p.gtid.executed = of_p("1-9");
        p.read_only = read_only;
        p.group.as_mut().unwrap().state = "OFFLINE".into();
        let s = in_group(primary_facts(), "PRIMARY", GroupKind::GroupReplication);
        let servers = [("p", p), ("s", s), ("a", replica("a", "1-9", "1-9").1)];
        let told = outcome(&fleet(&servers, &["p"]), &request(Cause::Found, None));
        assert!(told.starts_with(expected), "{case}: {told}");
    }
}

#[test]
fn a_group_below_a_primary_is_no_successor() {
    let (_, g) = replica("g", "1-9", "1-9");
    let g = in_group(g, "PRIMARY", GroupKind::GroupReplication);
    let replicas = [("g".to_owned(), g), replica("z", "1-9", "1-9")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let (_, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
    assert_eq!(plan.successor, key("z"));
    assert!(plan.gather.chains.iter().any(|chain| chain.on == key("g")), "it follows");
}

/// I9 is about those who were stopped: nobody who had no source gets one.
#[test]
fn going_back_gives_no_source_to_one_who_had_none() {
    let fleet = fleet_with(
        everywhere(),
        "1-9",
        &[replica("a", "1-9", "1-9"), replica("b", "1-9", "1-9")],
        &[],
    );
    let (mut recovery, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
    let mut cluster = (**fleet.cluster_with(&key("p")).unwrap()).clone();
    for member in cluster.members.values_mut() {
        let mut instance: Instance = (*member.instance).clone();
        Arc::make_mut(&mut instance.facts).channels.clear();
        instance.health.facts_from = Some(now());
        *member = Member { instance: Arc::new(instance), ..member.clone() };
    }
    let situation = Situation { cluster: &cluster, ..situation(&fleet) };
    assert_eq!(roll_back(&recovery, &situation).chains, []);
    let successor = plan.successor.clone();
    recovery.plan = Some(plan);
    let chains = roll_back(&recovery, &situation).chains;
    assert_eq!(
        chains.iter().map(|it| &it.on).collect::<Vec<_>>(),
        [&successor],
        "it forgot its own"
    );
}

/// I5: what acknowledged when the primary was seen last may have what nobody else has.
#[test]
fn acknowledgements_of_replicas_that_nobody_knows_count_as_silent() {
    for (clients, refused) in [(1, false), (2, true)] {
        let mut p = primary_facts();
        p.server_uuid = Some(P.parse().unwrap());
        p.gtid.executed = of_p("1-9");
        p.semi_sync.source_enabled = true;
        p.semi_sync.source_active = true;
        p.semi_sync.wait_for_replicas = 1;
        p.semi_sync.source_clients = clients;
        let (_, mut a) = replica("a", "1-9", "1-9");
        a.semi_sync.replica_enabled = true;
        let servers = [("p", p), ("a", a), ("b", replica("b", "1-9", "1-9").1)];
        let told = outcome(&fleet(&servers, &["p"]), &request(Cause::Found, None));
        assert_eq!(
            told.contains("acknowledged by 1 replicas that are not known"),
            refused,
            "{told}"
        );
    }
}
