//! What a former primary has that its successor lacks.

use std::collections::BTreeMap;

use baton_actors::ports::{ExtraTransactions, Transactions};
use baton_topology::recovery::extra::{ExportCommand, Extra, Transaction};
use serde::Serialize;

use crate::call::Call;
use crate::compat::KeyJson;
use crate::reply::{Outcome, Reply};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ExtraJson {
    key: KeyJson,
    compared_with_key: KeyJson,
    gtids: String,
    count: u64,
    binary_logs: Vec<String>,
    commands: Vec<CommandJson>,
    transactions: Vec<TransactionJson>,
    notes: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CommandJson {
    purpose: &'static str,
    command: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TransactionJson {
    gtid: String,
    binary_log: String,
    begins_at: u64,
    ends_at: u64,
    events: Vec<String>,
    more_events: usize,
}

pub(super) async fn extra_transactions(call: Call) -> Outcome {
    let key = call.member()?.1.key().clone();
    let listed = call.query("events") == Some("true");
    let transactions = if listed { Transactions::Listed } else { Transactions::Counted };
    let found = call.services.operations.extra_transactions(key, transactions).await?;
    let (gtids, count) = extent(&found);
    let text = text(&found, &gtids, count, transactions);
    let ExtraTransactions { key, compared_with, logs, transactions, commands, notes, .. } = found;
    let shown = ExtraJson {
        key: (&key).into(),
        compared_with_key: (&compared_with).into(),
        gtids,
        count,
        binary_logs: logs,
        commands: commands
            .into_iter()
            .map(|ExportCommand { purpose, line }| CommandJson { purpose, command: line })
            .collect(),
        transactions: transactions.into_iter().map(TransactionJson::from).collect(),
        notes,
    };
    Reply::ok(&text, shown)
}

impl From<Transaction> for TransactionJson {
    fn from(transaction: Transaction) -> Self {
        let Transaction { gtid, log, begins_at, ends_at, events, more } = transaction;
        Self { gtid, binary_log: log, begins_at, ends_at, events, more_events: more }
    }
}

/// Which transactions there are, and how many; of MariaDB those that were found in the logs.
fn extent(found: &ExtraTransactions) -> (String, u64) {
    match &found.extra {
        Extra::MySql(set) => (set.to_string(), set.count()),
        Extra::MariaDb(_) => {
            let gtids: Vec<&str> = found.transactions.iter().map(|it| it.gtid.as_str()).collect();
            (gtids.join(","), gtids.len() as u64)
        }
    }
}

fn text(found: &ExtraTransactions, gtids: &str, count: u64, asked: Transactions) -> String {
    let ExtraTransactions { key, compared_with, logs, transactions, commands, notes, .. } = found;
    let mut lines = match count {
        0 => vec![format!("{key} has nothing that {compared_with} lacks")],
        1 => vec![format!("{key} has 1 transaction that {compared_with} lacks: {gtids}")],
        _ => vec![format!("{key} has {count} transactions that {compared_with} lacks: {gtids}")],
    };
    if !logs.is_empty() {
        lines.push(format!("binary logs: {}", logs.join(" ")));
    }
    lines.extend(notes.iter().map(|note| format!("note: {note}")));
    let mut by_purpose: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for ExportCommand { purpose, line } in commands {
        by_purpose.entry(*purpose).or_default().push(line);
    }
    // To read comes first.
    for (purpose, commands) in by_purpose.into_iter().rev() {
        lines.push(format!("to {purpose} them:"));
        lines.extend(commands.iter().map(|line| format!("  {line}")));
    }
    if asked == Transactions::Listed {
        for Transaction { gtid, log, begins_at, ends_at, events, more } in transactions {
            lines.push(format!("{gtid} in {log} from {begins_at} to {ends_at}:"));
            lines.extend(events.iter().map(|event| format!("  {}", harmless(event))));
            if *more > 0 {
                lines.push(format!("  and {more} more events"));
            }
        }
    }
    lines.join("\n")
}

/// Statements may hold anything; none of it gets to steer a terminal.
fn harmless(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
    };
    text.chars().map(shown).collect()
}
