use baton_topology::testing::{key, replica_facts, valid_instance};

use super::*;

#[test]
fn a_full_disk_is_named_and_the_store_goes_on_when_there_is_space_again() {
    let mut store = Store::open_in_memory().unwrap();
    let pages: u32 = store.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.connection.pragma_update(None, "max_page_count", pages).unwrap();
    let batch: Vec<Write> = (0..500)
        .map(|n| Write::Instance {
            instance: Arc::new(valid_instance(&format!("db{n}"), replica_facts(&key("p")))),
            cluster: ClusterId::new("p:3306"),
        })
        .collect();
    let error = store.write(&batch).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(!error.is_transient());
    assert!(store.load().unwrap().instances.is_empty(), "nothing of the batch was written");
    store.connection.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    store.write(&batch).unwrap();
    assert_eq!(store.load().unwrap().instances.len(), 500);
}
