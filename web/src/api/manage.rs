//! What is watched, and what people set on instances.

use std::time::Duration;

use baton_actors::certificates::Shown;
use baton_topology::instance::PromotionRule;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Candidate, Command, Downtime, VirtualName};

use crate::call::Call;
use crate::compat::{KeyJson, MaintenanceJson};
use crate::reply::{Failure, Outcome, Reply};

/// How long a downtime lasts when nobody says, and how long maintenance begun here does.
const DEFAULT_DURATION: Duration = Duration::from_secs(600);
/// A forgotten instance is not discovered again for so many poll intervals.
const FORGOTTEN_POLLS: u32 = 3;

pub(super) async fn discover(call: Call) -> Outcome {
    let key = call.raw_key()?;
    let is_forgotten = call.services.ledger.state().borrow().is_forgotten(&key, call.now);
    if is_forgotten {
        // Whoever discovers it on purpose means it.
        tell_all(&call, &key).await?;
    }
    let found = call.services.discovery.discover(key).await?;
    tell_all(&call, &found.key).await?;
    call.audit("discover", Some(&found.key), String::from("discovered on request"));
    let fleet = call.services.snapshot.borrow().clone();
    let gone = || Failure::new(format!("{} is gone again", found.key));
    let (cluster, member) = fleet.member(&found.key).ok_or_else(gone)?;
    let shown = crate::compat::InstanceJson::of(&fleet, cluster, member, call.now);
    Reply::ok(&format!("Instance discovered: {}", found.key), shown)
}

pub(super) async fn discover_later(call: Call) -> Outcome {
    let key = call.raw_key()?;
    tell_all(&call, &key).await?;
    call.services.discovery.discover_later(key.clone())?;
    Reply::ok(&format!("Asynchronous discovery initiated for Instance: {key}"), ())
}

/// Has all nodes discover an instance, even if it was forgotten a moment ago.
async fn tell_all(call: &Call, key: &InstanceKey) -> Result<(), Failure> {
    let command = Command::Discover { key: key.clone(), at: call.now };
    call.agree(command).await?;
    Ok(())
}

pub(super) async fn refresh(call: Call) -> Outcome {
    let key = call.key()?;
    known(&call, &key, "refresh")?;
    call.services.discovery.discover(key.clone()).await?;
    Reply::ok(&format!("Instance refreshed: {key}"), KeyJson::from(&key))
}

pub(super) async fn forget(call: Call) -> Outcome {
    let raw = call.raw_key()?;
    let key = if call.fleet.cluster_of.contains_key(&raw) { raw } else { call.key()? };
    known(&call, &key, "ForgetInstance()")?;
    forget_all(&call, vec![key.clone()], Some(&key)).await?;
    Reply::ok(&format!("Instance forgotten: {key}"), KeyJson::from(&key))
}

/// Has a server be known by what it shows now. With `fingerprint`, only if it shows that.
pub(super) async fn confirm_certificate(call: Call) -> Outcome {
    let key = call.key()?;
    let certificates = &call.services.certificates;
    if certificates.shown(&key).is_none() {
        // Another node may have met it, or nobody yet. What it shows to this one counts; that it
        // cannot be logged in to is why it is asked about.
        let _ = call.services.discovery.discover(key.clone()).await;
    }
    let Some(shown) = certificates.shown(&key) else {
        let text = format!("{key} shows nothing else than what it is known by");
        return Err(Failure::new(text));
    };
    let (fingerprint, now) = match shown {
        Shown::Key(key) => (Some(key.clone()), format!("public key {key}")),
        Shown::NoTls => (None, "no TLS".to_owned()),
    };
    let meant = call.query("fingerprint");
    if meant.is_some_and(|meant| fingerprint.as_ref().is_none_or(|it| it.as_str() != meant)) {
        return Err(Failure::new(format!("{key} does not show that, but {now}")));
    }
    let command = Command::ConfirmCertificate { key: key.clone(), fingerprint, at: call.now };
    let applied = call.change("confirm-certificate", Some(&key), now.clone(), command).await?;
    certificates.adopt(&applied.state);
    // Whether it lets baton in now, its state tells.
    let _ = call.services.discovery.discover(key.clone()).await;
    Reply::ok(&format!("{key} is known by what it shows now: {now}"), KeyJson::from(&key))
}

pub(super) async fn forget_cluster(call: Call) -> Outcome {
    let cluster = call.cluster(call.param("hint"))?.clone();
    let members = cluster.members.keys().cloned().collect();
    forget_all(&call, members, None).await?;
    Reply::ok(&format!("Cluster forgotten: {}", cluster.name()), cluster.name())
}

async fn forget_all(
    call: &Call,
    keys: Vec<InstanceKey>,
    key: Option<&InstanceKey>,
) -> Result<(), Failure> {
    let pause = call.fleet.policy.poll_interval.saturating_mul(FORGOTTEN_POLLS);
    let audited = format!("{} instances forgotten", keys.len());
    let command = Command::Forget { keys, until: call.now.plus(pause) };
    call.change("forget", key, audited, command).await?;
    Ok(())
}

/// What is set on an instance that nobody knows would be set on nothing.
fn known(call: &Call, key: &InstanceKey, what: &str) -> Result<(), Failure> {
    if call.fleet.cluster_of.contains_key(key) {
        return Ok(());
    }
    Err(Failure::new(format!("{what}: instance {key} not found")))
}

pub(super) async fn begin_maintenance(call: Call) -> Outcome {
    let key = call.key()?;
    let (owner, reason) = (call.param("owner"), call.param("reason"));
    let command = Command::BeginMaintenance {
        key: key.clone(),
        owner: owner.into(),
        reason: reason.into(),
        begins_at: call.now,
        ends_at: call.now.plus(DEFAULT_DURATION),
    };
    let audited = format!("owner: {owner}, reason: {reason}");
    call.change("begin-maintenance", Some(&key), audited, command).await?;
    Reply::ok(&format!("Maintenance begun: {key}"), KeyJson::from(&key))
}

pub(super) async fn end_maintenance(call: Call) -> Outcome {
    let key = call.key()?;
    let command = Command::EndMaintenance { key: key.clone() };
    call.change("end-maintenance", Some(&key), String::new(), command).await?;
    Reply::ok(&format!("Maintenance ended: {key}"), KeyJson::from(&key))
}

pub(super) async fn end_maintenance_by_id(call: Call) -> Outcome {
    let id = call.param("id");
    let number: u64 =
        id.parse().map_err(|_| Failure::new(format!("Invalid maintenance key: {id}")))?;
    let mut maintenances = call.fleet.ledger.maintenances.iter();
    let key = maintenances.find(|(_, it)| it.id == number).map(|(key, _)| key.clone());
    let key = key.ok_or_else(|| Failure::new(format!("No maintenance with key {number}")))?;
    let command = Command::EndMaintenance { key: key.clone() };
    call.change("end-maintenance", Some(&key), String::new(), command).await?;
    Reply::ok(&format!("Maintenance ended: {number}"), number)
}

pub(super) async fn in_maintenance(call: Call) -> Outcome {
    let key = call.key()?;
    let is_in = call.fleet.ledger.maintenance_of(&key, call.now).is_some();
    let (message, details) =
        if is_in { ("true", key.to_string()) } else { ("false", String::new()) };
    Reply::ok(message, details)
}

pub(super) async fn maintenance(call: Call) -> Outcome {
    let ledger = &call.fleet.ledger;
    let active = ledger.maintenances.keys().filter_map(|key| {
        let maintenance = ledger.maintenance_of(key, call.now)?;
        Some(MaintenanceJson::of(key, maintenance, call.now))
    });
    Reply::bare(&active.collect::<Vec<_>>())
}

pub(super) async fn begin_downtime(call: Call) -> Outcome {
    let key = call.key()?;
    known(&call, &key, "begin-downtime")?;
    let duration = if call.has("duration") {
        parse_duration(call.param("duration"))?
    } else {
        DEFAULT_DURATION
    };
    let (owner, reason) = (call.param("owner"), call.param("reason"));
    let downtime = Downtime {
        owner: owner.into(),
        reason: reason.into(),
        begins_at: call.now,
        ends_at: call.now.plus(duration),
    };
    let command = Command::BeginDowntime { key: key.clone(), downtime };
    let audited = format!("owner: {owner}, reason: {reason}, seconds: {}", duration.as_secs());
    call.change("begin-downtime", Some(&key), audited, command).await?;
    Reply::ok(&format!("Downtime begun: {key}"), KeyJson::from(&key))
}

pub(super) async fn end_downtime(call: Call) -> Outcome {
    let key = call.key()?;
    let command = Command::EndDowntime { key: key.clone() };
    call.change("end-downtime", Some(&key), String::new(), command).await?;
    Reply::ok(&format!("Downtime ended: {key}"), KeyJson::from(&key))
}

/// Reads `10s`, `5m`, `2h`, `1d` or `1w`; zero means the default.
fn parse_duration(text: &str) -> Result<Duration, Failure> {
    let refuse = || {
        Failure::new(format!(
            "Cannot parse duration {text:?}: want a number and one of s, m, h, d, w"
        ))
    };
    let unit_at = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at));
    let (digits, unit) = text.split_at(unit_at.ok_or_else(refuse)?);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return Err(refuse()),
    };
    let number = digits.parse::<u32>().map_err(|_| refuse())?;
    if number == 0 {
        return Ok(DEFAULT_DURATION);
    }
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

pub(super) async fn register_candidate(call: Call) -> Outcome {
    let key = call.key()?;
    let text = call.param("rule");
    let rule = match PromotionRule::parse(text) {
        None => return Err(Failure::new(format!("Invalid CandidatePromotionRule: {text}"))),
        Some(PromotionRule::Must) => {
            return Err(Failure::new("CandidatePromotionRule: must not supported yet"));
        }
        Some(rule) => rule,
    };
    known(&call, &key, "register-candidate")?;
    let expires_at = call.now.plus(call.fleet.policy.candidate_expiry);
    let candidate = Candidate { rule, registered_at: call.now, expires_at };
    let command = Command::RegisterCandidate { key: key.clone(), candidate };
    call.change("register-candidate", Some(&key), text.to_owned(), command).await?;
    Reply::ok("Registered candidate", KeyJson::from(&key))
}

pub(super) async fn register_virtual_name(call: Call) -> Outcome {
    let key = call.key()?;
    let hostname = call.param("name");
    let name = VirtualName { hostname: hostname.into(), registered_at: call.now };
    let command = Command::RegisterVirtualName { key: key.clone(), name };
    let audited = format!("virtual name: {hostname}");
    call.change("register-hostname-unresolve", Some(&key), audited, command).await?;
    Reply::ok("Hostname register unresolve completed", KeyJson::from(&key))
}

pub(super) async fn deregister_virtual_name(call: Call) -> Outcome {
    let key = call.key()?;
    let command = Command::DeregisterVirtualName { key: key.clone() };
    call.change("deregister-hostname-unresolve", Some(&key), String::new(), command).await?;
    Reply::ok("Hostname deregister unresolve completed", KeyJson::from(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, seconds) in [
            ("10s", Some(10)),
            ("5m", Some(300)),
            ("2h", Some(7_200)),
            ("1d", Some(86_400)),
            ("1w", Some(604_800)),
            ("0m", Some(600)),
            ("10", None),
            ("m", None),
            ("", None),
            ("-1s", None),
            ("1ü", None),
            ("99999999999w", None),
        ] {
            assert_eq!(parse_duration(text).ok().map(|it| it.as_secs()), seconds, "{text:?}");
        }
    }
}
