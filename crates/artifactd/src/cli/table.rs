//! A table of aligned columns. It knows nothing of what stands in it.

use std::fmt::Write;

use clap::builder::styling::{AnsiColor, Style};

use super::out::printable;

/// The most characters of a cell; JSON output has the rest.
const MAX_CELL_CHARS: usize = 64;

/// A text and how it looks where colours are taken.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text of any origin: made printable, and cut where it is very long.
    pub(super) fn new(text: &str) -> Self {
        let text = printable(text);
        let text = match text.char_indices().nth(MAX_CELL_CHARS) {
            Some(_) => text.chars().take(MAX_CELL_CHARS - 1).chain(['…']).collect(),
            None => text.into_owned(),
        };
        Self { text, style: Style::new() }
    }

    /// A text that stays whole, however long it is.
    pub(super) fn whole(text: &str) -> Self {
        Self { text: printable(text).into_owned(), style: Style::new() }
    }

    /// ✓ or –.
    pub(super) fn mark(on: bool) -> Self {
        let style = if on { AnsiColor::Green.on_default() } else { Style::new().dimmed() };
        Self { text: if on { "✓" } else { "–" }.to_owned(), style }
    }

    #[must_use]
    pub(super) fn bold(mut self) -> Self {
        self.style = self.style.bold();
        self
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Columns that only grow, so that a table may be written piece by piece.
#[derive(Debug)]
pub(super) struct Table {
    titles: Vec<&'static str>,
    right: &'static [&'static str],
    widths: Vec<usize>,
    headed: bool,
    colours: bool,
}

impl Table {
    /// A table with these columns; those in `right` are set to the right.
    pub(super) fn new(titles: Vec<&'static str>, right: &'static [&'static str], colours: bool) -> Self {
        let widths = titles.iter().map(|title| title.chars().count()).collect();
        Self { titles, right, widths, headed: false, colours }
    }

    /// The next rows as text, below the head where they are the first.
    pub(super) fn render(&mut self, rows: &[Vec<Cell>]) -> String {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        let mut text = String::new();
        if !std::mem::replace(&mut self.headed, true) {
            let head: Vec<Cell> = self.titles.iter().map(|title| Cell::new(title).bold()).collect();
            self.line(&mut text, &head);
        }
        for row in rows {
            self.line(&mut text, row);
        }
        text
    }

    fn line(&self, text: &mut String, row: &[Cell]) {
        for (index, cell) in row.iter().enumerate() {
            let width = self.widths.get(index).copied().unwrap_or_default();
            let room = " ".repeat(width - cell.width().min(width));
            let to_the_right = self.titles.get(index).is_some_and(|title| self.right.contains(title));
            if to_the_right {
                text.push_str(&room);
            }
            if self.colours {
                // Writing into a text cannot fail.
                let _ = write!(text, "{}{}{:#}", cell.style, cell.text, cell.style);
            } else {
                text.push_str(&cell.text);
            }
            if index + 1 < row.len() {
                if !to_the_right {
                    text.push_str(&room);
                }
                text.push_str("  ");
            }
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Table};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_in_characters() {
        let mut table = Table::new(vec!["NAME", "SIZE", "END"], &["SIZE"], false);
        let rows = [
            vec![Cell::new("ü"), Cell::new("7"), Cell::new("a")],
            vec![Cell::new("longer"), Cell::new("12345"), Cell::new("")],
        ];
        assert_eq!(table.render(&rows), "NAME     SIZE  END\nü           7  a\nlonger  12345  \n");
    }

    #[test]
    fn the_head_stands_above_the_first_rows_only() {
        let mut table = Table::new(vec!["A"], &[], false);
        assert_eq!(table.render(&[vec![Cell::new("1")]]), "A\n1\n");
        assert_eq!(table.render(&[vec![Cell::new("2")]]), "2\n");
    }

    #[test]
    fn a_very_long_cell_is_cut() {
        let mut table = Table::new(vec!["A"], &[], false);
        let text = table.render(&[vec![Cell::new(&"x".repeat(1000))]]);
        assert_eq!(text, format!("A\n{}…\n", "x".repeat(63)));
    }

    #[test]
    fn colours_are_there_only_where_they_are_asked_for() {
        let rows = [vec![Cell::mark(true)]];
        assert_eq!(Table::new(vec!["A"], &[], false).render(&rows), "A\n✓\n");
        assert!(Table::new(vec!["A"], &[], true).render(&rows).contains("\u{1b}[32m✓\u{1b}[0m"));
    }
}
