//! Keeps one input that makes the analysis panic from stopping all the others.

use std::panic::{AssertUnwindSafe, catch_unwind};

use baton_topology::fleet::{Advance, FleetInput};
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;

/// What takes the fleet one step further.
type Step = fn(&FleetSnapshot, Vec<FleetInput>, Timestamp) -> Advance;

/// Advances the fleet by all inputs; should that panic, by each alone, without those that panic.
/// The step is pure, so that a panic leaves nothing half done.
pub(super) fn advance(
    before: &FleetSnapshot,
    inputs: Vec<FleetInput>,
    now: Timestamp,
    step: Step,
) -> Advance {
    let attempt =
        |fleet: &FleetSnapshot, inputs| catch_unwind(AssertUnwindSafe(|| step(fleet, inputs, now)));
    if let Ok(advance) = attempt(before, inputs.clone()) {
        return advance;
    }
    let mut whole = Advance { snapshot: before.clone(), touched: Vec::new(), news: Vec::new() };
    for input in inputs {
        let subject = subject(&input);
        match attempt(&whole.snapshot, vec![input]) {
            Ok(advance) => {
                whole.snapshot = advance.snapshot;
                whole.touched.extend(advance.touched);
                whole.news.extend(advance.news);
            }
            Err(_) => tracing::error!(subject, "the analysis panicked over this and dropped it"),
        }
    }
    whole
}

fn subject(input: &FleetInput) -> String {
    match input {
        FleetInput::Probed(result) => format!("a look at {}", result.key),
        FleetInput::Relayed(result) => format!("another node's look at {}", result.key),
        FleetInput::Found(key) => format!("the finding of {key}"),
        FleetInput::Restored(_) => "restored instances".into(),
        FleetInput::Forgotten(_) => "forgotten instances".into(),
        FleetInput::Ledger(_) => "the ledger".into(),
        FleetInput::Policy(_) => "the policy".into(),
        FleetInput::Names(_) => "names".into(),
        FleetInput::Polls(_) => "what other nodes said".into(),
        FleetInput::RuntimeDelay(_) => "how late this node runs".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use baton_topology::fleet;
    use baton_topology::key::InstanceKey;

    use super::*;

    fn fragile(before: &FleetSnapshot, inputs: Vec<FleetInput>, now: Timestamp) -> Advance {
        let is_poison =
            |input: &FleetInput| matches!(input, FleetInput::Found(key) if key.host() == "poison");
        assert!(!inputs.iter().any(is_poison), "on purpose");
        fleet::advance(before, inputs, now)
    }

    #[test]
    fn one_poisoned_input_is_dropped_and_the_others_count() {
        std::panic::set_hook(Box::new(|_| {}));
        let now = Timestamp::from_secs(1);
        let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), now);
        let inputs = ["a", "poison", "b"].map(|name| FleetInput::Found(InstanceKey::new(name, 1)));
        let advance = advance(&empty, inputs.to_vec(), now, fragile);
        assert_eq!(advance.snapshot.instance_count(), 2);
        assert_eq!(advance.news.len(), 2);
        assert_eq!(advance.touched.len(), 2);
    }
}
