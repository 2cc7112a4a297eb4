//! How a former primary comes back, as a replica of the one that replaced it.

use uuid::Uuid;

use crate::action::Action;
use crate::cluster::Member;
use crate::errant::imported;
use crate::gtid::{Gtids, MariaDbPosition, Relation};

use super::super::candidate::Situation;
use super::super::holding::{everything, extra_of_mariadb, turned_away, without_imports};
use super::super::{Chain, Loss, Need, Plan, Recovery, Refused, Stage};
use super::account::no_account;
use super::{acknowledge_no_more, follow};

/// Plans it: only who has nothing of its own may come back.
pub(super) fn plan(recovery: &Recovery, situation: &Situation<'_>) -> Result<Plan, Refused> {
    let key = recovery.failed();
    let known = |key| {
        let member = situation.cluster.member(key).filter(|it| it.instance.is_valid());
        member.ok_or_else(|| Refused::because(format!("{key} does not answer")))
    };
    let Some(primary) = &recovery.wanted else {
        return Err(Refused::because(format!("it is not known whom {key} could follow")));
    };
    let (former, primary) = (known(key)?, known(primary)?);
    if former.instance.facts.source() == Some(primary.key()) {
        return Err(Refused::because(format!("{key} follows {} already", primary.key())));
    }
    if !former.replicas.is_empty() && former.source.is_none() && !former.instance.facts.read_only {
        return Err(Refused::because(format!("{key} is a writable primary with replicas")));
    }
    nothing_of_its_own(former, primary)?;
    if let Some(why) = turned_away(former, primary) {
        return Err(Refused::because(why));
    }
    if let Some(why) = no_account(former) {
        return Err(Refused::because(why));
    }
    let mut actions = vec![Action::SetReadOnly];
    actions.extend(acknowledge_no_more(former));
    actions.extend(follow(primary.key()));
    Ok(Plan {
        successor: primary.key().clone(),
        why: vec![format!("{key} has nothing that {} lacks", primary.key())],
        prepare: Vec::new(),
        open: Stage::default(),
        gather: Stage { chains: vec![Chain { on: key.clone(), actions, need: Need::Must }] },
        lost: Vec::new(),
        loss: Loss::default(),
    })
}

/// Whether a server has nothing that a primary lacks.
pub(super) fn nothing_of_its_own(former: &Member, primary: &Member) -> Result<(), Refused> {
    if let Some(extra) = extra_of_mariadb(former, primary) {
        if extra.is_empty() {
            return Ok(());
        }
        let extra = format!(
            "{} has transactions up to {} that {} lacks",
            former.key(),
            extra.join(","),
            primary.key()
        );
        return Err(Refused(vec![extra, to_see_them(former)]));
    }
    let (theirs, ours) = (everything(primary), everything(former));
    let ids = [former.instance.facts.server_id, primary.instance.facts.server_id];
    match (&ours, &theirs) {
        (Gtids::MySql(ours), Gtids::MySql(theirs)) => {
            // What it imports goes on coming, and is nobody's to lose.
            let uuids: Vec<Uuid> = primary.instance.facts.server_uuid.into_iter().collect();
            let extra = ours.subtract(theirs).subtract(&imported(&former.instance.facts, &uuids));
            if extra.is_empty() {
                return Ok(());
            }
            Err(Refused(vec![
                format!(
                    "{} has {} transactions that {} lacks: {extra}",
                    former.key(),
                    extra.count(),
                    primary.key()
                ),
                to_see_them(former),
            ]))
        }
        (Gtids::MariaDb(ours), Gtids::MariaDb(theirs)) => match theirs.relation(&without_imports(
            ours,
            &former.instance.facts,
            &ids,
            &MariaDbPosition::default(),
        )) {
            Relation::Equal | Relation::Superset => Ok(()),
            Relation::Subset | Relation::Diverged => Err(Refused(vec![
                format!(
                    "{} is at {ours} and {} at {theirs}: it has what the other lacks",
                    former.key(),
                    primary.key()
                ),
                to_see_them(former),
            ])),
        },
        _ => Err(Refused::because(format!(
            "what {} and {} have cannot be compared without GTID",
            former.key(),
            primary.key()
        ))),
    }
}

fn to_see_them(former: &Member) -> String {
    format!("to see and keep them: baton client extra-transactions -i {}", former.key())
}
