//! What is printed of an answer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::commands::Print;

/// The lines to print for a good answer. `destination` is what `-d` said.
pub(super) fn lines(print: Print, answer: &Value, destination: &str) -> Vec<String> {
    let details = &answer["Details"];
    match print {
        Print::Nothing => Vec::new(),
        Print::Raw => vec![answer.to_string()],
        Print::Details => vec![text(details)],
        Print::Message => message(answer),
        Print::DetailsAndMessage => std::iter::once(text(details)).chain(message(answer)).collect(),
        Print::Readiness => readiness(answer),
        Print::DetailLines => list(details).iter().map(text).collect(),
        Print::DetailKey => vec![key(details)],
        Print::DetailKeys => list(details).iter().map(key).collect(),
        Print::KeyAndSource => {
            vec![format!("{}<{}", key(details), plain_key(&details["MasterKey"]))]
        }
        Print::Successor => vec![plain_key(&details["SuccessorKey"])],
        Print::Pairs => list(details).iter().map(pair).collect(),
        Print::Lines => match answer {
            Value::Array(items) => items.iter().map(text).collect(),
            other => vec![text(other)],
        },
        Print::Key => vec![key(answer)],
        Print::Keys => list(answer).iter().map(key).collect(),
        Print::SourceKey => vec![plain_key(&answer["MasterKey"])],
        Print::Field(name) => vec![text(&answer[name])],
        Print::Fields(name) => list(answer).iter().map(|it| text(&it[name])).collect(),
        Print::NamesAndAliases => {
            let both =
                |it: &Value| format!("{},{}", text(&it["ClusterName"]), text(&it["ClusterAlias"]));
            list(answer).iter().map(both).collect()
        }
        Print::BrokenReplicas => keys_where(answer, is_broken),
        Print::RunningReplicas => keys_where(answer, |it| threads_are(it, 1)),
        Print::DominantDataCenter => dominant(list(answer)).into_iter().collect(),
        Print::KeyIfThreads(state) => {
            if threads_are(answer, state) {
                vec![key(answer)]
            } else {
                Vec::new()
            }
        }
        Print::DestinationIfTrue => {
            let says_true = text(&answer["Message"]).contains("true");
            if says_true { vec![destination.to_owned()] } else { Vec::new() }
        }
        Print::Findings => list(details).iter().map(finding).collect(),
        Print::NodeName => vec![text(&details["Hostname"])],
    }
}

/// The lines of the message.
pub(super) fn message(answer: &Value) -> Vec<String> {
    text(&answer["Message"]).lines().map(str::to_owned).collect()
}

/// Who would be promoted, and below it what speaks for and against it.
fn readiness(answer: &Value) -> Vec<String> {
    let details = &answer["Details"];
    let mut lines = message(answer);
    let kinds = [("Why", ""), ("Obstacles", ""), ("Lost", ""), ("HeldBackBy", "held back: ")];
    for (name, intro) in kinds {
        lines.extend(list(&details[name]).iter().map(|it| format!("  {intro}{}", text(it))));
    }
    match details["PossibleLoss"].as_u64() {
        Some(count) if count > 0 => {
            let which = text(&details["PossibleLossGtids"]);
            lines.push(format!("  possible loss: {count} transactions: {which}"));
        }
        _ => {}
    }
    lines
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The key of an instance, or a key itself.
fn key(value: &Value) -> String {
    plain_key(if value["Key"].is_object() { &value["Key"] } else { value })
}

fn plain_key(key: &Value) -> String {
    format!(
        "{}:{}",
        key["Hostname"].as_str().unwrap_or_default(),
        key["Port"].as_u64().unwrap_or(0)
    )
}

fn pair(pair: &Value) -> String {
    format!("{}:{}", text(&pair["Key"]), text(&pair["Value"]))
}

fn keys_where(answer: &Value, wanted: impl Fn(&Value) -> bool) -> Vec<String> {
    list(answer).iter().filter(|it| wanted(it)).map(key).collect()
}

fn threads_are(instance: &Value, state: i64) -> bool {
    instance["ReplicationSQLThreadState"] == state && instance["ReplicationIOThreadState"] == state
}

fn is_broken(replica: &Value) -> bool {
    let stopped = |field: &str| replica[field] == false;
    let has_error = |field: &str| replica[field].as_str().is_some_and(|error| !error.is_empty());
    (stopped("Slave_SQL_Running") || stopped("Slave_IO_Running"))
        && (has_error("LastSQLError") || has_error("LastIOError"))
}

/// The most frequent data centre; the first by name of several.
fn dominant(instances: &[Value]) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for instance in instances {
        *counts.entry(text(&instance["DataCenter"])).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    counts.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name)
}

fn finding(finding: &Value) -> String {
    let code = match text(&finding["Analysis"]) {
        code if code == "NoProblem" => text(&finding["StructureAnalysis"][0]),
        code => code,
    };
    let key = plain_key(&finding["AnalyzedInstanceKey"]);
    let cluster = text(&finding["ClusterDetails"]["ClusterName"]);
    format!("{key} (cluster {cluster}): {code}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_printed_as_scripts_expect_them() {
        let k = |port: u16| json!({"Hostname": "h", "Port": port});
        let replica = |port: u16, sql: i64, error: &str| {
            json!({"Key": k(port), "MasterKey": k(1), "DataCenter": "east",
                "ReplicationSQLThreadState": sql, "ReplicationIOThreadState": 1,
                "Slave_SQL_Running": sql == 1, "Slave_IO_Running": true, "LastSQLError": error})
        };
        let analysis = |code: &str| {
            json!({"Details": [{"AnalyzedInstanceKey": k(1), "Analysis": code,
                "StructureAnalysis": ["XStructureWarning"], "ClusterDetails": {"ClusterName": "h:1"}}]})
        };
        let two = json!([replica(2, 1, ""), replica(3, 0, "\"x\"")]);
        let cases: Vec<(Print, Value, &[&str])> = vec![
            (Print::Nothing, json!({"Details": 1}), &[]),
            (Print::Details, json!({"Details": "a\nb"}), &["a\nb"]),
            (Print::Details, json!({"Details": 10}), &["10"]),
            (Print::Message, json!({"Message": "a:\n  b\n", "Details": 1}), &["a:", "  b"]),
            (
                Print::DetailsAndMessage,
                json!({"Message": "too much", "Details": "open"}),
                &["open", "too much"],
            ),
            (
                Print::Readiness,
                json!({"Message": "h:2 would", "Details": {"Why": ["a"], "Obstacles": [],
                    "Lost": ["lost: h:3: b"], "HeldBackBy": ["c"], "PossibleLoss": 2,
                    "PossibleLossGtids": "u:1-2"}}),
                &[
                    "h:2 would",
                    "  a",
                    "  lost: h:3: b",
                    "  held back: c",
                    "  possible loss: 2 transactions: u:1-2",
                ],
            ),
            (Print::DetailKey, json!({"Details": k(2)}), &["h:2"]),
            (Print::DetailKey, json!({"Details": replica(2, 1, "")}), &["h:2"]),
            (Print::DetailKeys, json!({"Details": [k(2), k(3)]}), &["h:2", "h:3"]),
            (Print::KeyAndSource, json!({"Details": replica(2, 1, "")}), &["h:2<h:1"]),
            (Print::Pairs, json!({"Details": [{"Key": "a", "Value": "h:1"}]}), &["a:h:1"]),
            (Print::Lines, json!(["a=", "b=c"]), &["a=", "b=c"]),
            (Print::Lines, json!("Leader"), &["Leader"]),
            (Print::Keys, two.clone(), &["h:2", "h:3"]),
            (Print::Keys, Value::Null, &[]),
            (Print::SourceKey, replica(2, 1, ""), &["h:1"]),
            (Print::BrokenReplicas, two.clone(), &["h:3"]),
            (Print::RunningReplicas, two.clone(), &["h:2"]),
            (Print::DominantDataCenter, two.clone(), &["east"]),
            (Print::KeyIfThreads(1), replica(2, 1, ""), &["h:2"]),
            (Print::KeyIfThreads(1), replica(2, 0, ""), &[]),
            (Print::DestinationIfTrue, json!({"Message": "true"}), &["d:1"]),
            (Print::DestinationIfTrue, json!({"Message": "false"}), &[]),
            (Print::Findings, analysis("DeadMaster"), &["h:1 (cluster h:1): DeadMaster"]),
            (Print::Findings, analysis("NoProblem"), &["h:1 (cluster h:1): XStructureWarning"]),
        ];
        for (print, answer, expected) in cases {
            assert_eq!(lines(print, &answer, "d:1"), expected, "{print:?} of {answer}");
        }
    }
}
