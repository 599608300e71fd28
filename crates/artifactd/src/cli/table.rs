//! A table with aligned columns. This module must never know the content of a cell.

use std::fmt::Write;

use clap::builder::styling::{AnsiColor, Style};

use super::printable::printable;

/// The longest text of a cell in characters, except for [`Cell::uncut`]. The JSON output has the whole text.
const MAX_CELL_CHARS: usize = 64;

/// A text, and the style that is used if colours are on.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell with a text of any origin: unprintable characters are escaped, and a long text is cut.
    pub(super) fn new(text: &str) -> Self {
        let text = printable(text);
        // A text that is cut ends with an ellipsis, which counts as one of the characters.
        let text = match text.char_indices().nth(MAX_CELL_CHARS) {
            Some(_) => text.chars().take(MAX_CELL_CHARS - 1).chain(['…']).collect(),
            None => text.into_owned(),
        };
        Self { text, style: Style::new() }
    }

    /// A cell with the whole of a text of any origin: unprintable characters are escaped.
    pub(super) fn uncut(text: &str) -> Self {
        Self { text: printable(text).into_owned(), style: Style::new() }
    }

    /// A cell with ✓ if `is_set` is true, else with –.
    pub(super) fn check_mark(is_set: bool) -> Self {
        if !is_set {
            return Self::dash();
        }
        Self { text: "✓".to_owned(), style: AnsiColor::Green.on_default() }
    }

    /// A cell with –, for a value that does not exist.
    pub(super) fn dash() -> Self {
        Self { text: "–".to_owned(), style: Style::new().dimmed() }
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

/// A table that can be rendered in several parts. No column of a part is narrower than in the parts before.
#[derive(Debug)]
pub(super) struct Table {
    titles: Vec<&'static str>,
    right_aligned: &'static [&'static str],
    widths: Vec<usize>,
    header_is_rendered: bool,
    colours: bool,
}

impl Table {
    /// A table with these columns. A column is aligned to the right if its title is in `right_aligned`. If `colours` is
    /// false, the styles of cells are ignored.
    pub(super) fn new(
        titles: Vec<&'static str>,
        right_aligned: &'static [&'static str],
        colours: bool,
    ) -> Self {
        let widths = titles.iter().map(|title| title.chars().count()).collect();
        Self { titles, right_aligned, widths, header_is_rendered: false, colours }
    }

    /// Renders rows. The first call puts the header above the rows.
    pub(super) fn render(&mut self, rows: &[Vec<Cell>]) -> String {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        let mut text = String::new();
        if !self.header_is_rendered {
            self.header_is_rendered = true;
            let header: Vec<Cell> = self.titles.iter().map(|title| Cell::new(title).bold()).collect();
            self.render_row(&mut text, &header);
        }
        for row in rows {
            self.render_row(&mut text, row);
        }
        text
    }

    /// Appends a line with the cells of `row`, padded to the widths of the columns. The last cell has no padding after
    /// it.
    fn render_row(&self, text: &mut String, row: &[Cell]) {
        for (index, cell) in row.iter().enumerate() {
            let width = self.widths.get(index).copied().unwrap_or_default();
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            let is_right_aligned =
                self.titles.get(index).is_some_and(|title| self.right_aligned.contains(title));
            if is_right_aligned {
                text.push_str(&padding);
            }
            if self.colours {
                // `{}` writes the codes that begin the style, and `{:#}` writes the code that ends it. Writing into a
                // `String` cannot fail.
                let _ = write!(text, "{}{}{:#}", cell.style, cell.text, cell.style);
            } else {
                text.push_str(&cell.text);
            }
            if index + 1 < row.len() {
                if !is_right_aligned {
                    text.push_str(&padding);
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

    const COLOURS: bool = true;
    const NO_COLOURS: bool = false;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_in_characters() {
        let mut table = Table::new(vec!["NAME", "SIZE", "END"], &["SIZE"], NO_COLOURS);
        let rows = [
            vec![Cell::new("ü"), Cell::new("7"), Cell::new("a")],
            vec![Cell::new("longer"), Cell::new("12345"), Cell::new("")],
        ];
        assert_eq!(table.render(&rows), "NAME     SIZE  END\nü           7  a\nlonger  12345  \n");
    }

    #[test]
    fn the_header_is_above_the_first_rows_only() {
        let mut table = Table::new(vec!["A"], &[], NO_COLOURS);
        assert_eq!(table.render(&[vec![Cell::new("1")]]), "A\n1\n");
        assert_eq!(table.render(&[vec![Cell::new("2")]]), "2\n");
    }

    #[test]
    fn a_very_long_cell_is_cut() {
        let mut table = Table::new(vec!["A"], &[], NO_COLOURS);
        let text = table.render(&[vec![Cell::new(&"x".repeat(1000))]]);
        assert_eq!(text, format!("A\n{}…\n", "x".repeat(63)));
    }

    #[test]
    fn a_table_has_colours_only_if_they_are_on() {
        let rows = [vec![Cell::check_mark(true)]];
        assert_eq!(Table::new(vec!["A"], &[], NO_COLOURS).render(&rows), "A\n✓\n");
        assert!(Table::new(vec!["A"], &[], COLOURS).render(&rows).contains("\u{1b}[32m✓\u{1b}[0m"));
    }
}
