//! What looks like a failure while a recovery makes it.

use super::*;
use crate::recovery::making::is_of_a_recovery;

#[test]
fn what_a_recovery_does_itself_is_no_failure_until_a_moment_after_its_end() {
    let fleet = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9")], &[]);
    let begun = begin(&request(Cause::Asked, None), &fleet, &runner(), now()).unwrap();
    let found = |name: &str, code| Analysis { key: key(name), code, ..begun.analysis.clone() };
    let judged = |ended_at: Option<Timestamp>, analysis: &Analysis, at: Timestamp| {
        let recovery = Recovery { ended_at, ..begun.clone() };
        let command = Command::BeginRecovery { recovery: Arc::new(recovery) };
        let (ledger, _) = apply(&LedgerState::default(), &command).unwrap();
        is_of_a_recovery(analysis, &ledger, at)
    };
    let after = |seconds: i64| Timestamp::from_secs(100 + seconds);
    for (case, name, code, ended_at, at, expected) in [
        ("it closes the primary", "p", Code::NoWriteablePrimary, None, 0, true),
        ("it stops receivers", "p", Code::AllPrimaryReplicasNotReplicating, None, 60, true),
        ("of a replica", "a", Code::FirstTierReplicaFailingToConnectToPrimary, None, 1, true),
        ("not looked at since", "p", Code::NoWriteablePrimary, Some(0), 4, true),
        ("it stays so", "p", Code::NoWriteablePrimary, Some(0), 5, false),
        ("the dead are dead", "p", Code::DeadPrimary, None, 0, false),
        ("of somebody else", "x", Code::NoWriteablePrimary, None, 0, false),
    ] {
        let found = found(name, code);
        let ended_at = ended_at.map(after);
        assert_eq!(judged(ended_at, &found, after(at)), expected, "{case}");
    }
}
