//! The reference of keys, written from their table.

use std::fmt::Write as _;

use super::keys::{Applies, GROUPS, Group, Key, Kind, Status};

const INTRODUCTION: &str = include_str!("introduction.md");

/// The text of `docs/configuration.md`.
pub fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    for group in GROUPS.iter().flat_map(|part| part.iter()) {
        write_group(&mut text, group);
    }
    text
}

fn write_group(text: &mut String, group: &Group) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n## {}\n\n| key | holds | default | meaning |\n|---|---|---|---|",
        group.title
    );
    for key in group.keys {
        let _ = writeln!(text, "{}", row(key));
    }
}

fn row(key: &Key) -> String {
    let name = key.name;
    match key.status {
        Status::Ignored(reason) => format!("| `{name}` | | | *Ignored:* {reason}. |"),
        Status::SynonymOf(of) => format!("| `{name}` | | | Old name of `{of}`. |"),
        Status::Used(applies) => {
            let default = match (key.kind, key.default) {
                (_, "") => "empty".to_owned(),
                (Kind::List, items) => format!("`[\"{items}\"]`"),
                (_, value) => format!("`{value}`"),
            };
            let restart = match applies {
                Applies::OnReload => "",
                Applies::AtStart => " *(restart)*",
                Applies::Later => " *(nothing acts on it yet)*",
            };
            format!("| `{name}` | {} | {default} | {}{restart} |", key.kind.as_str(), key.doc)
        }
    }
}
