//! What baton stores, and how: SQL schema, migrations and the typed store.
