//! The schema at every version, and what happens with those this baton does not know.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

use baton_schema::migrate::{self, SQLITE};
use baton_schema::{OpenError, Store};
use rusqlite::Connection;

/// What a schema consists of, in a fixed order.
fn shape(connection: &Connection) -> Vec<(String, String, Option<String>)> {
    let mut statement = connection
        .prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

fn latest() -> Vec<(String, String, Option<String>)> {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(include_str!("../sqlite/latest.sql")).unwrap();
    shape(&connection)
}

#[test]
fn the_latest_schema_is_the_sum_of_all_migrations() {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate::upgrade(&mut connection, SQLITE).unwrap();
    assert_eq!(shape(&connection), latest());
}

#[test]
fn migrations_are_numbered_without_gaps_and_all_are_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sqlite");
    let mut files: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "latest.sql")
        .collect();
    files.sort();
    let listed: Vec<String> =
        SQLITE.iter().map(|step| format!("{:04}_{}.sql", step.version, step.name)).collect();
    assert_eq!(files, listed);
    let versions: Vec<u32> = SQLITE.iter().map(|step| step.version).collect();
    assert_eq!(versions, (1..=u32::try_from(SQLITE.len()).unwrap()).collect::<Vec<_>>());
}

#[test]
fn a_store_of_any_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    for steps in 0..=SQLITE.len() {
        let path = folder.path().join(format!("v{steps}.sqlite"));
        let mut connection = Connection::open(&path).unwrap();
        migrate::upgrade(&mut connection, &SQLITE[..steps]).unwrap();
        drop(connection);
        Store::open(&path).unwrap().load().unwrap();
        let connection = Connection::open(&path).unwrap();
        assert_eq!(shape(&connection), latest(), "from version {steps}");
        assert_eq!(migrate::version(&connection).unwrap() as usize, SQLITE.len());
    }
}

#[test]
fn a_newer_store_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baton.sqlite");
    drop(Store::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection.execute("INSERT INTO schema_version VALUES (99, 'tomorrow')", []).unwrap();
    drop(connection);
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("use the newer baton"), "{error}");
}
