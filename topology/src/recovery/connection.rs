//! Whether those who were given another source get through to it.

use crate::action::{Action, Threads};
use crate::instance::{Facts, ThreadState};
use crate::key::InstanceKey;

use super::Stage;

/// Those whom a stage gives another source and starts.
pub fn repointed(stage: &Stage) -> Vec<InstanceKey> {
    let chains = stage.chains.iter().filter(|chain| {
        let is_moved = chain.actions.iter().any(|it| matches!(it, Action::ChangeSource { .. }));
        is_moved && chain.actions.last() == Some(&Action::Start(Threads::Both))
    });
    chains.map(|chain| chain.on.clone()).collect()
}

/// Whether a replica is connected to its source.
pub fn is_connected(facts: &Facts) -> bool {
    facts.main_channel().is_some_and(|it| it.receiver == ThreadState::Running)
}

/// What a replica says of why it is not; a receiver that only tries says nothing.
pub fn why_not_connected(facts: &Facts) -> String {
    let Some(channel) = facts.main_channel() else { return "it has no source".to_owned() };
    let source = channel.source.attached().map_or_else(String::new, |it| format!(" to {it}"));
    let error = &channel.receiver_error;
    match error.number {
        0 => format!("its receiver does not get through{source}"),
        number => {
            format!("its receiver does not connect{source}: {} ({number})", error.text.trim())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::follow;
    use super::super::{Chain, Need};
    use super::*;
    use crate::testing::{key, replica_facts};

    #[test]
    fn who_was_repointed_and_does_not_connect_says_why() {
        let chain = |on: &str, actions| Chain { on: key(on), actions, need: Need::Should };
        let stage = Stage {
            chains: vec![
                chain("a", follow(&key("p"))),
                chain("b", vec![Action::Stop(Threads::Both), Action::Detach]),
                chain("c", vec![Action::Start(Threads::Both)]),
            ],
        };
        assert_eq!(repointed(&stage), [key("a")]);
        let mut facts = replica_facts(&key("p"));
        assert!(is_connected(&facts));
        facts.channels[0].receiver = ThreadState::Other;
        assert!(!is_connected(&facts) && why_not_connected(&facts).contains("p:3306"));
        facts.channels[0].receiver_error.number = 2061;
        facts.channels[0].receiver_error.text = "requires secure connection".into();
        let why = why_not_connected(&facts);
        assert!(why.ends_with("to p:3306: requires secure connection (2061)"), "{why}");
        assert!(!is_connected(&Facts::default()));
    }
}
