//! The output of `ls`: lines of JSON, or a table. The table has no column for a part of the scope for which the
//! arguments allow only one value. This module must never read a store.

use artifact_store::{Record, ScopePart, ScopePattern, TaskPattern, TenantPattern};
use artifact_store_protocol::Row;
use indicatif::BinaryBytes;

use crate::cli::error::CommandError;
use crate::cli::json_line::json_line;
use crate::cli::table::{Cell, Table};

/// Formatted records that are not printed yet.
#[derive(Debug)]
pub(super) enum Rows {
    Json { driver: &'static str, lines: String },
    Table { columns: Vec<Column>, table: Table, cells: Vec<Vec<Cell>> },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Id,
    Size,
    Created,
    MediaType,
    Filename,
    Tenant,
    User,
    Session,
    Task,
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Id => "ID",
            Self::Size => "SIZE",
            Self::Created => "CREATED",
            Self::MediaType => "MEDIA TYPE",
            Self::Filename => "FILENAME",
            Self::Tenant => "TENANT",
            Self::User => "USER",
            Self::Session => "SESSION",
            Self::Task => "TASK",
        }
    }

    fn cell(self, record: &Record) -> Cell {
        let Record { id, size, scope, created_at, options, .. } = record;
        let optional = |text: Option<&str>| text.map_or_else(|| Cell::new("–"), Cell::new);
        match self {
            // Ids and scopes are not cut, so that they can be copied.
            Self::Id => Cell::uncut(id.as_str()),
            Self::Size => Cell::new(&BinaryBytes(*size).to_string()),
            // The first 19 characters are the time without a fraction of a second and without the final `Z`, such as
            // 2026-01-02T03:04:05.
            Self::Created => {
                Cell::new(&created_at.to_string().chars().take(19).chain(['Z']).collect::<String>())
            }
            Self::MediaType => optional(options.media_type.as_deref()),
            Self::Filename => optional(options.filename.as_deref()),
            Self::Tenant => Cell::uncut(scope.tenant().as_str()),
            Self::User => Cell::uncut(scope.user().as_str()),
            Self::Session => Cell::uncut(scope.session().as_str()),
            Self::Task => scope.task().map(ScopePart::as_str).map_or_else(|| Cell::new("–"), Cell::uncut),
        }
    }
}

impl Rows {
    pub(super) fn json(driver: &'static str) -> Self {
        Self::Json { driver, lines: String::new() }
    }

    /// A table. A part of the scope has a column only if `pattern` allows several values for it.
    pub(super) fn table(pattern: &ScopePattern, colours: bool) -> Self {
        let mut columns =
            vec![Column::Id, Column::Size, Column::Created, Column::MediaType, Column::Filename];
        let optional = [
            (pattern.tenant == TenantPattern::AllTenants, Column::Tenant),
            (pattern.user.is_none(), Column::User),
            (pattern.session.is_none(), Column::Session),
            (pattern.task == TaskPattern::Any, Column::Task),
        ];
        columns.extend(optional.into_iter().filter(|(is_shown, _)| *is_shown).map(|(_, column)| column));
        let titles = columns.iter().map(|column| column.title()).collect();
        Self::Table { columns, table: Table::new(titles, &["SIZE"], colours), cells: Vec::new() }
    }

    /// Formats `record` and adds it.
    pub(super) fn push(&mut self, record: Record) -> Result<(), CommandError> {
        match self {
            Self::Json { driver, lines } => lines.push_str(&json_line(&Row::new(record, driver))?),
            Self::Table { columns, cells, .. } => {
                cells.push(columns.iter().map(|column| column.cell(&record)).collect());
            }
        }
        Ok(())
    }

    /// The text of the records that were added since the last call.
    pub(super) fn render(&mut self) -> String {
        match self {
            Self::Json { lines, .. } => std::mem::take(lines),
            Self::Table { cells, .. } if cells.is_empty() => String::new(),
            Self::Table { table, cells, .. } => {
                let text = table.render(cells);
                cells.clear();
                text
            }
        }
    }
}
