//! Replicas that answer and are not logged in to, as they do not show what they are known by. They count as
//! silent, which a person can end.

use super::super::candidate::Situation;
use super::super::{Recovery, Refused};
use super::{NAMED_MAX, members};
use crate::cluster::Member;
use crate::instance::FailureKind;

/// Why nothing is known of a replica now.
pub(super) fn why_silent(member: &Member) -> String {
    why(member).unwrap_or_else(|| "it does not answer".to_owned())
}

fn why(member: &Member) -> Option<String> {
    let what = match member.instance.refusal()?.kind {
        FailureKind::CertificateChanged => "it shows another certificate than before",
        FailureKind::TlsWithdrawn => "it offered TLS before and does not any more",
        _ => return None,
    };
    let key = member.key();
    Some(format!(
        "{what}, and is not logged in to until a person says that this is right: \
         confirm-certificate -i {key}"
    ))
}

/// A refusal that says as well which replicas are silent for that reason.
pub(super) fn explained(
    refused: Refused,
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Refused {
    let all = members(recovery, situation);
    let told = all.into_iter().filter_map(|it| Some(format!("{}: {}", it.key(), why(it)?)));
    Refused(refused.0.into_iter().chain(told.take(NAMED_MAX)).collect())
}
