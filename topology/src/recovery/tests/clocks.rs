//! Recoveries that another node began, whose clock may differ.

use super::*;
use crate::recovery::gate::{ROLLED_BACK_BLOCK, blocking};

/// A recovery that was over at once, begun `ahead` seconds after the clock here says.
fn ledger(fleet: &FleetSnapshot, kind: Kind, ahead: i64) -> Arc<LedgerState> {
    let begun = begin(&request(Cause::Asked, None), fleet, &runner(), now()).unwrap();
    let begun_at = Timestamp::from_secs(100 + ahead);
    let ended = Phase::Ended(End::Done);
    let recovery = Recovery { kind, begun_at, ended_at: Some(begun_at), phase: ended, ..begun };
    let command = Command::BeginRecovery { recovery: Arc::new(recovery) };
    Arc::new(apply(&LedgerState::default(), &command).unwrap().0)
}

#[test]
fn a_recovery_blocks_no_longer_than_is_set_from_when_this_node_learned_of_it() {
    let both = [replica("a", "1-9", "1-9"), replica("c", "1-9", "1-9")];
    let fleet = fleet_with(everywhere(), "1-9", &both, &[]);
    let block = i64::try_from(fleet.policy.recovery.block.as_secs()).unwrap();
    let short = i64::try_from(ROLLED_BACK_BLOCK.as_secs()).unwrap();
    assert!(block > short);
    for (case, kind, ahead, lasts) in [
        ("clocks agree", Kind::Primary, 0, block),
        ("it began a while ago", Kind::Primary, -50, block - 50),
        ("its clock was ahead by a moment", Kind::Primary, 1, block),
        ("its clock was ahead by a day", Kind::Primary, 86_400, block),
        ("nobody was promoted", Kind::Regroup, 0, short),
        ("nobody was promoted, its clock was ahead", Kind::Regroup, 86_400, short),
    ] {
        let ledger = ledger(&fleet, kind, ahead);
        let asking = Recovery { id: 0, ..(**ledger.recoveries.get(&1).unwrap()).clone() };
        let told = |before: &FleetSnapshot, at: i64| {
            let inputs = vec![FleetInput::Ledger(Arc::clone(&ledger))];
            advance(before, inputs, Timestamp::from_secs(at)).snapshot
        };
        let learned = told(&fleet, 100);
        // That the ledger goes on changes nothing.
        let learned = told(&learned, 130);
        let restarted = FleetSnapshot::empty(Arc::clone(&fleet.policy), Arc::clone(&ledger), now());
        for (how, fleet) in [("learned", &learned), ("from the store", &restarted)] {
            let is_blocked = |at: i64| blocking(&asking, fleet, Timestamp::from_secs(at)).is_some();
            assert!(is_blocked(100 + lasts - 1), "case: {case}, {how}");
            assert!(!is_blocked(100 + lasts), "case: {case}, {how}");
        }
    }
}
