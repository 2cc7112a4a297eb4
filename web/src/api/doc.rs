//! The reference of the API, `docs/api.md`, from the table of routes.

#[cfg(test)]
mod tests {
    use crate::api::{Access, Place, ROUTES};

    fn reference() -> String {
        let mut text = include_str!("introduction.md").to_owned();
        text.push_str("\n| route | access | in a raft |\n|---|---|---|\n");
        for route in ROUTES {
            let access = match route.access {
                Access::Read => "read",
                Access::PrivilegedRead => "read, only who may write",
                Access::Write => "write",
                Access::Planned => "write, takes `dry_run`",
            };
            let place = match route.place {
                Place::Leader => "the leader",
                Place::Here => "any node",
            };
            text.push_str(&format!("| `/api/{}` | {access} | {place} |\n", route.path));
        }
        text
    }

    #[test]
    fn the_reference_is_in_step_with_the_routes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == reference(), "run the tests once with UPDATE_DOCS=1");
    }
}
