//! Raw answers, looked up by name.

use std::borrow::Cow;
use std::str::FromStr;

use super::ReadingError;
use crate::gtid::{GtidSet, Gtids};

/// A result set as a server sent it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawTable {
    /// Column names.
    pub columns: Vec<String>,
    /// Rows; a value that is `None` is NULL. Rows shorter than `columns` read as NULL at the end.
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
}

/// A text of a server is cut where it is longer, in bytes. Sets of GTIDs are longer by right; how long
/// all answers together may be is up to who reads them.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// What stands at the end of a text that was cut.
const CUT: &str = "\u{2026}";

/// One row of a [`RawTable`].
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    columns: &'a [String],
    values: &'a [Option<Vec<u8>>],
}

impl RawTable {
    /// Cuts texts that are longer than any a server has reason to tell. For answers of probes: other
    /// tables hold sets of GTIDs where the column does not say so.
    pub fn cut(&mut self) {
        let is_set = |name: &String| name.to_ascii_lowercase().contains("gtid");
        let sets: Vec<bool> = self.columns.iter().map(is_set).collect();
        for row in &mut self.rows {
            let texts = row.iter_mut().zip(sets.iter().copied().chain(std::iter::repeat(false)));
            for (text, _) in texts.filter(|(_, is_set)| !is_set) {
                if let Some(text) = text.as_mut().filter(|text| text.len() > TEXT_BYTES_MAX) {
                    cut(text);
                }
            }
        }
    }

    /// The first row.
    pub fn first(&self) -> Option<Row<'_>> {
        self.rows().next()
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row { columns: &self.columns, values })
    }

    /// In a table of names and values: the value of a name, in any case.
    pub fn lookup(&self, name: &str) -> Option<Cow<'_, str>> {
        self.rows()
            .find(|row| row.at(0).is_some_and(|found| found.eq_ignore_ascii_case(name)))
            .and_then(|row| row.at(1))
    }
}

impl<'a> Row<'a> {
    /// The value at a position; `None` when NULL or absent.
    pub fn at(&self, index: usize) -> Option<Cow<'a, str>> {
        self.values.get(index)?.as_deref().map(String::from_utf8_lossy)
    }

    /// The value of a column, in any case; `None` when NULL or absent.
    pub fn get(&self, column: &str) -> Option<Cow<'a, str>> {
        let index = self.columns.iter().position(|name| name.eq_ignore_ascii_case(column))?;
        self.at(index)
    }

    /// The value of the first of these columns that there is.
    pub fn get_any(&self, columns: &[&str]) -> Option<Cow<'a, str>> {
        columns.iter().find_map(|column| self.get(column))
    }

    /// The value of a column as text; empty when NULL or absent.
    pub fn text(&self, column: &str) -> String {
        self.get(column).map(Cow::into_owned).unwrap_or_default()
    }

    /// The value of the first of these columns that there is, as text.
    pub fn text_any(&self, columns: &[&str]) -> String {
        self.get_any(columns).map(Cow::into_owned).unwrap_or_default()
    }

    /// The value of a column as a number.
    pub fn number<T: FromStr>(&self, column: &str) -> Option<T> {
        self.get(column)?.trim().parse().ok()
    }

    /// The value of the first of these columns that there is, as a number.
    pub fn number_any<T: FromStr>(&self, columns: &[&str]) -> Option<T> {
        self.get_any(columns)?.trim().parse().ok()
    }

    /// Whether a column says 1, ON or Yes.
    pub fn flag(&self, column: &str) -> bool {
        self.get(column).is_some_and(|value| is_on(&value))
    }
}

/// At the beginning of a character: no other byte of UTF-8 begins with the bits 10.
fn cut(text: &mut Vec<u8>) {
    let ends = (0..=TEXT_BYTES_MAX).rev().take(4);
    let end = ends.into_iter().find(|at| text[*at] & 0b1100_0000 != 0b1000_0000);
    text.truncate(end.unwrap_or(TEXT_BYTES_MAX));
    text.shrink_to_fit();
    text.extend_from_slice(CUT.as_bytes());
}

/// Whether a value means "yes" in any of the ways servers write it.
pub(super) fn is_on(value: &str) -> bool {
    value == "1" || value.eq_ignore_ascii_case("on") || value.eq_ignore_ascii_case("yes")
}

/// Reads a GTID set of either make.
pub(super) fn gtids(
    text: &str,
    is_mariadb: bool,
    what: &'static str,
) -> Result<Gtids, ReadingError> {
    if is_mariadb {
        let position = text.parse().map_err(|_| ReadingError::BadGtids(what))?;
        Ok(Gtids::MariaDb(position))
    } else {
        parse_gtids(text, what).map(Gtids::MySql)
    }
}

/// Reads MySQL's GTID sets.
pub(super) fn parse_gtids(text: &str, what: &'static str) -> Result<GtidSet, ReadingError> {
    text.parse().map_err(|_| ReadingError::BadGtids(what))
}

/// Reads one of MariaDB's positions; empty where there is no such column.
pub(super) fn position<T: FromStr>(row: &Row<'_>, column: &'static str) -> Result<T, ReadingError> {
    row.text(column).parse().map_err(|_| ReadingError::BadGtids(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_and_sets_are_not() {
        let value = |text: &str| Some(text.as_bytes().to_vec());
        let long = "\u{e9}".repeat(5_000);
        let mut table = RawTable {
            columns: vec!["Last_IO_Error".into(), "Executed_Gtid_Set".into(), "Host".into()],
            rows: vec![vec![value(&long), value(&long), value("db1"), value(&long)], vec![None]],
        };
        table.cut();
        let row = table.first().unwrap();
        let cut = row.text("Last_IO_Error");
        assert!(cut.len() <= TEXT_BYTES_MAX + CUT.len() && cut.ends_with(CUT), "{}", cut.len());
        assert!(!cut.contains('\u{fffd}'), "no character is cut in two");
        assert_eq!(row.text("Executed_Gtid_Set"), long);
        assert_eq!(row.text("Host"), "db1");
        assert!(row.at(3).unwrap().ends_with(CUT), "also what has no column");
    }
}
