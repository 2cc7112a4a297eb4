use super::*;

pub(super) fn table(columns: &[&str], rows: &[&[Option<&str>]]) -> RawTable {
    RawTable {
        columns: columns.iter().map(|&name| name.to_owned()).collect(),
        rows: rows
            .iter()
            .map(|row| row.iter().map(|value| value.map(|text| text.as_bytes().to_vec())).collect())
            .collect(),
    }
}

#[test]
fn without_the_essential_answers_there_are_no_facts() {
    let key = InstanceKey::new("db1", 3306);
    let nothing = read(&key, &Answers::new(), ReadingPolicy::default());
    assert_eq!(nothing.unwrap_err(), ReadingError::Unanswered(Question::Basics));
    let basics = table(&["version", "server_id"], &[&[Some("8.4.0"), Some("7")]]);
    let mut answers = Answers::from([(Question::Basics, basics)]);
    let half = read(&key, &answers, ReadingPolicy::default());
    assert_eq!(half.unwrap_err(), ReadingError::Unanswered(Question::ReplicaStatus));
    answers.insert(Question::ReplicaStatus, RawTable::default());
    let (canonical, facts) = read(&key, &answers, ReadingPolicy::default()).unwrap();
    assert_eq!((canonical, facts.server_id), (key, 7));
}
