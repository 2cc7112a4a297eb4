//! How two nodes prove to each other that they have a key in common, and tell others nothing.
//!
//! Whoever connects is the *asker*, the other one the *answerer*. They agree on a session by SPAKE2,
//! in which each message is as likely under any key: whoever reads along, or pretends to be one of
//! the two, learns nothing that guesses could be tested on, but for one guess a connection. Then the
//! asker proves that it came to the same session, and only then the answerer does. What they prove
//! covers the key itself, who is who, all that was said, and the TLS connection as both ends have it
//! (RFC 9266): words that are passed on from one connection to another, or said again, prove nothing.
//!
//! Either may have several keys for a while (see [`super::keys`]); then there is one session for each
//! pair of them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};
use spake2::{Ed25519Group, Identity, Password, Spake2};
use subtle::ConstantTimeEq;

use super::keys::KEYS_MAX;
use super::secret::Secret;

type Exchange = Spake2<Ed25519Group>;

/// What a connection's two ends have in common and no other connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Nothing: it is not encrypted.
    Plain,
    /// Keying material exported from TLS.
    Tls([u8; 32]),
}

/// The label under which it is exported: RFC 9266, for this purpose only.
const EXPORTED_AS: &[u8] = b"EXPORTER-baton-raft";

impl Channel {
    /// That of a TLS connection, once its handshake is over.
    ///
    /// # Errors
    /// Before that.
    pub(super) fn of_tls<D>(tls: &rustls::ConnectionCommon<D>) -> Result<Self, rustls::Error> {
        tls.export_keying_material([0; 32], EXPORTED_AS, None).map(Self::Tls)
    }
}

/// What was said is none of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these are no words of a proof")]
pub(super) struct NotAProof;

/// The other one does not have a key of ours, or is not at the other end of this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has no key of ours")]
pub(super) struct Unproven;

/// What an answerer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It has so many keys; the asker is to begin with an offer for each.
    Keys(usize),
    /// Its own offers.
    Offers(String),
    /// Its proof.
    Proof(String),
}

/// Words in rows and columns, as they are sent.
type Grid = Vec<Vec<Vec<u8>>>;

fn text(grid: &Grid) -> String {
    let row = |row: &Vec<Vec<u8>>| row.iter().map(|it| BASE64.encode(it)).collect::<Vec<_>>();
    grid.iter().map(|it| row(it).join(",")).collect::<Vec<_>>().join(";")
}

/// All rows have as many columns as the first one, and there are no more than a node has keys.
fn grid(text: &str) -> Result<Grid, NotAProof> {
    let cell = |cell: &str| BASE64.decode(cell).map_err(|_| NotAProof);
    let row = |row: &str| row.split(',').take(KEYS_MAX + 1).map(cell).collect();
    let grid: Grid = text.split(';').take(KEYS_MAX + 1).map(row).collect::<Result<_, _>>()?;
    let columns = grid.first().map_or(0, Vec::len);
    let is_even = grid.iter().all(|row| row.len() == columns);
    if is_even && grid.len() <= KEYS_MAX && columns <= KEYS_MAX { Ok(grid) } else { Err(NotAProof) }
}

fn begin(secret: &Secret, side: Side) -> (Exchange, Vec<u8>) {
    let password = Password::new(secret.bytes());
    let (asker, answerer) =
        (Identity::new(b"baton raft asker"), Identity::new(b"baton raft answerer"));
    match side {
        Side::Asker => Exchange::start_a(&password, &asker, &answerer),
        Side::Answerer => Exchange::start_b(&password, &asker, &answerer),
    }
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Asker,
    Answerer,
}

/// What both ends agree on, for one pair of keys.
struct Session {
    key: hmac::Key,
    /// What is proven.
    about: Vec<u8>,
}

impl Session {
    fn new(
        secret: &Secret,
        exchange: Exchange,
        other: &[u8],
        about: &[u8],
    ) -> Result<Self, NotAProof> {
        let agreed = exchange.finish(other).map_err(|_| NotAProof)?;
        // Of both: should the exchange be broken some day, the key is still asked for.
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.bytes()), &agreed);
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
        Ok(Self { key, about: about.to_vec() })
    }

    fn proof(&self, side: Side) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(match side {
            Side::Asker => b"asker:",
            Side::Answerer => b"answer",
        });
        context.update(&self.about);
        context.sign().as_ref().to_vec()
    }
}

/// What is proven: this connection, and all that was said on it.
fn about(channel: Channel, offered: &str, answered: &str) -> Vec<u8> {
    let said = digest::digest(&digest::SHA256, format!("{offered}\n{answered}").as_bytes());
    let channel = match channel {
        Channel::Plain => vec![0],
        Channel::Tls(exported) => [&[1], &exported[..]].concat(),
    };
    [&channel, said.as_ref()].concat()
}

fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// The one who connects, before it was answered.
pub(super) struct Asker {
    /// By key of ours, then by key of theirs.
    exchanges: Vec<(Secret, Vec<Exchange>)>,
    offered: String,
}

impl Asker {
    /// Begins, with so many offers for each key as the other one has keys.
    pub(super) fn new(secrets: Vec<Secret>, columns: usize) -> Self {
        let mut offers = Grid::new();
        let exchanges = secrets.into_iter().take(KEYS_MAX).map(|secret| {
            let columns = (0..columns.min(KEYS_MAX)).map(|_| begin(&secret, Side::Asker));
            let (exchanges, row) = columns.unzip();
            offers.push(row);
            (secret, exchanges)
        });
        let exchanges = exchanges.collect();
        Self { exchanges, offered: text(&offers) }
    }

    /// What it offers.
    pub(super) fn offers(&self) -> &str {
        &self.offered
    }

    /// Proves that it has the keys it has, and says what it waits for.
    pub(super) fn prove(
        self,
        channel: Channel,
        answered: &str,
    ) -> Result<(String, Proven), NotAProof> {
        let answers = grid(answered)?;
        let about = about(channel, &self.offered, answered);
        let (mut proofs, mut sessions) = (Grid::new(), Vec::new());
        if answers.len() != self.exchanges.len() {
            return Err(NotAProof);
        }
        for ((secret, exchanges), answers) in self.exchanges.into_iter().zip(&answers) {
            if exchanges.len() != answers.len() {
                return Err(NotAProof);
            }
            let mut row = Vec::new();
            for (exchange, other) in exchanges.into_iter().zip(answers) {
                let session = Session::new(&secret, exchange, other, &about)?;
                row.push(session.proof(Side::Asker));
                sessions.push((secret.clone(), session));
            }
            proofs.push(row);
        }
        Ok((text(&proofs), Proven(sessions)))
    }
}

/// The one who connects, once it has proven its keys.
pub(super) struct Proven(Vec<(Secret, Session)>);

impl Proven {
    /// The key that the other one has too.
    pub(super) fn confirmed_by(self, proof: &str) -> Result<Secret, Unproven> {
        let proof = BASE64.decode(proof).map_err(|_| Unproven)?;
        let is_it = |(_, it): &(Secret, Session)| is_same(&it.proof(Side::Answerer), &proof);
        self.0.into_iter().find(is_it).map(|(secret, _)| secret).ok_or(Unproven)
    }
}

/// The one who is connected to, once it has answered.
pub(super) struct Answerer {
    /// By key of theirs, then by key of ours.
    sessions: Vec<Vec<Session>>,
    secrets: Vec<Secret>,
}

impl Answerer {
    /// Answers offers; alone with what to say where there are too few of them.
    pub(super) fn new(
        secrets: &[Secret],
        channel: Channel,
        offered: &str,
    ) -> Result<(Answer, Option<Self>), NotAProof> {
        let offers = grid(offered)?;
        if offers.iter().any(|row| row.len() != secrets.len()) {
            return Ok((Answer::Keys(secrets.len()), None));
        }
        let mut answers = Grid::new();
        let mut begun = Vec::new();
        for _ in &offers {
            let (exchanges, row): (Vec<Exchange>, Vec<Vec<u8>>) =
                secrets.iter().map(|it| begin(it, Side::Answerer)).unzip();
            begun.push(exchanges);
            answers.push(row);
        }
        let answered = text(&answers);
        let about = about(channel, offered, &answered);
        let mut sessions = Vec::new();
        for (exchanges, row) in begun.into_iter().zip(&offers) {
            let pairs = secrets.iter().zip(exchanges).zip(row);
            let row: Result<Vec<Session>, NotAProof> = pairs
                .map(|((secret, exchange), other)| Session::new(secret, exchange, other, &about))
                .collect();
            sessions.push(row?);
        }
        let secrets = secrets.to_vec();
        Ok((Answer::Offers(answered), Some(Self { sessions, secrets })))
    }

    /// Proves a key to one that has proven it: the first of ours that it has, which is told too.
    pub(super) fn confirm(self, proofs: &str) -> Result<(Answer, Secret), Unproven> {
        let proofs = grid(proofs).map_err(|_| Unproven)?;
        if proofs.len() != self.sessions.len() {
            return Err(Unproven);
        }
        for (column, secret) in self.secrets.iter().enumerate() {
            for (row, proofs) in self.sessions.iter().zip(&proofs) {
                let (Some(session), Some(proof)) = (row.get(column), proofs.get(column)) else {
                    return Err(Unproven);
                };
                if is_same(&session.proof(Side::Asker), proof) {
                    let proof = BASE64.encode(session.proof(Side::Answerer));
                    return Ok((Answer::Proof(proof), secret.clone()));
                }
            }
        }
        Err(Unproven)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Channel = Channel::Tls([7; 32]);
    const ELSEWHERE: Channel = Channel::Tls([8; 32]);

    fn secrets<const N: usize>() -> [Secret; N] {
        std::array::from_fn(|_| Secret::of_nobody())
    }

    /// What was said on a connection.
    struct Said {
        offered: String,
        answered: String,
        proofs: String,
    }

    /// A whole conversation over these ends; the key both have, and what was said.
    fn talk(
        (asking, here): (&[Secret], Channel),
        (answering, there): (&[Secret], Channel),
    ) -> (Result<Secret, Unproven>, Said) {
        let asker = Asker::new(asking.to_vec(), answering.len());
        let offered = asker.offers().to_owned();
        let (answer, answerer) = Answerer::new(answering, there, &offered).unwrap();
        let Answer::Offers(answered) = answer else { panic!("{answer:?}") };
        let (proofs, proven) = asker.prove(here, &answered).unwrap();
        let confirmed = answerer.unwrap().confirm(&proofs);
        let said = Said { offered, answered, proofs };
        match confirmed {
            Ok((Answer::Proof(proof), secret)) => {
                let found = proven.confirmed_by(&proof);
                assert_eq!(found.as_ref(), Ok(&secret), "both know which one it is");
                (found, said)
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => (Err(error), said),
        }
    }

    #[test]
    fn those_with_a_key_in_common_find_it_and_others_nothing() {
        let [old, new, other] = secrets();
        let all = |list: &[&Secret]| list.iter().copied().cloned().collect::<Vec<_>>();
        for (case, asking, answering, expected) in [
            ("the same", all(&[&new]), all(&[&new]), Some(&new)),
            ("none", all(&[&new]), all(&[&other]), None),
            ("one has both", all(&[&new, &old]), all(&[&old]), Some(&old)),
            ("the other has both", all(&[&old]), all(&[&new, &old]), Some(&old)),
            ("both have both", all(&[&new, &old]), all(&[&new, &old]), Some(&new)),
            ("what the answerer likes", all(&[&new, &old]), all(&[&old, &new]), Some(&old)),
            ("none of many", all(&[&new, &old]), all(&[&other]), None),
        ] {
            let (found, _) = talk((&asking, HERE), (&answering, HERE));
            assert_eq!(found.ok().as_ref(), expected, "{case}");
        }
        let keys = [new];
        assert!(talk((&keys, Channel::Plain), (&keys, Channel::Plain)).0.is_ok());
    }

    #[test]
    fn one_that_has_more_keys_says_how_many_and_nothing_else() {
        let [old, new] = secrets();
        let asker = Asker::new(vec![old.clone()], 1);
        let (answer, answerer) = Answerer::new(&[new, old], HERE, asker.offers()).unwrap();
        assert_eq!(answer, Answer::Keys(2));
        assert!(answerer.is_none());
    }

    #[test]
    fn words_passed_on_to_another_connection_prove_nothing() {
        let [key] = secrets();
        let keys = std::slice::from_ref(&key);
        for (here, there) in [(HERE, ELSEWHERE), (HERE, Channel::Plain), (Channel::Plain, HERE)] {
            assert!(talk((keys, here), (keys, there)).0.is_err(), "{here:?} to {there:?}");
        }
    }

    #[test]
    fn words_said_again_prove_nothing_to_either_side() {
        let [key] = secrets();
        let keys = std::slice::from_ref(&key);
        let (found, said) = talk((keys, HERE), (keys, HERE));
        assert!(found.is_ok());
        let (answer, answerer) = Answerer::new(keys, HERE, &said.offered).unwrap();
        let Answer::Offers(answered) = answer else { panic!("{answer:?}") };
        assert_ne!(answered, said.answered);
        assert!(answerer.unwrap().confirm(&said.proofs).is_err());

        // Nor what an asker hears of one that has heard all of it before, or gives it its own words.
        let asker = Asker::new(keys.to_vec(), 1);
        let (proofs, proven) = asker.prove(HERE, &said.answered).unwrap();
        assert!(proven.confirmed_by(&said.proofs).is_err());
        let (_, proven) = Asker::new(keys.to_vec(), 1).prove(HERE, &said.answered).unwrap();
        assert!(proven.confirmed_by(&proofs).is_err());
        let asker = Asker::new(keys.to_vec(), 1);
        let own = asker.offers().to_owned();
        assert!(asker.prove(HERE, &own).is_err(), "its own offer is no answer");
    }

    #[test]
    fn one_that_does_not_have_the_key_is_not_confirmed_by_what_it_heard() {
        let [key, guess] = secrets();
        // It answers, and gets the proof of one that has the key.
        let asker = Asker::new(vec![key], 1);
        let (answer, answerer) = Answerer::new(&[guess], HERE, asker.offers()).unwrap();
        let Answer::Offers(answered) = answer else { panic!("{answer:?}") };
        let (proofs, proven) = asker.prove(HERE, &answered).unwrap();
        assert!(answerer.unwrap().confirm(&proofs).is_err());
        assert!(proven.confirmed_by(&proofs).is_err(), "what the asker said is no answer to it");
    }

    #[test]
    fn what_is_no_proof_is_refused() {
        let [key] = secrets();
        let keys = std::slice::from_ref(&key);
        let good = Asker::new(keys.to_vec(), 1).offers().to_owned();
        for bad in ["?".to_owned(), "AAAA".to_owned(), format!("{good},;"), [&*good; 4].join(";")] {
            let answered = Answerer::new(keys, HERE, &bad);
            assert!(!matches!(answered, Ok((_, Some(_)))), "{bad}");
        }
        for few in ["", ",", ";"] {
            let (_, answerer) = Answerer::new(keys, HERE, &good).unwrap();
            assert!(answerer.unwrap().confirm(few).is_err(), "{few:?}");
        }
    }
}
