//! How `ls` writes records: lines of JSON, or a table without the columns that would say the same in every row.

use artifact_store::{Record, ScopePart, ScopePattern, TaskPattern, TenantPattern};
use artifact_store_protocol::Row;
use indicatif::BinaryBytes;

use crate::cli::Failure;
use crate::cli::out::json_line;
use crate::cli::table::{Cell, Table};

/// Records, written but not yet printed.
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
            // Ids and scopes are there to be copied.
            Self::Id => Cell::whole(id.as_str()),
            Self::Size => Cell::new(&BinaryBytes(*size).to_string()),
            // To the second: 2026-01-02T03:04:05Z.
            Self::Created => {
                Cell::new(&created_at.to_string().chars().take(19).chain(['Z']).collect::<String>())
            }
            Self::MediaType => optional(options.media_type.as_deref()),
            Self::Filename => optional(options.filename.as_deref()),
            Self::Tenant => Cell::whole(scope.tenant().as_str()),
            Self::User => Cell::whole(scope.user().as_str()),
            Self::Session => Cell::whole(scope.session().as_str()),
            Self::Task => scope.task().map(ScopePart::as_str).map_or_else(|| Cell::new("–"), Cell::whole),
        }
    }
}

impl Rows {
    pub(super) fn json(driver: &'static str) -> Self {
        Self::Json { driver, lines: String::new() }
    }

    pub(super) fn table(pattern: &ScopePattern, colours: bool) -> Self {
        let mut columns =
            vec![Column::Id, Column::Size, Column::Created, Column::MediaType, Column::Filename];
        let free = [
            (pattern.tenant == TenantPattern::AllTenants, Column::Tenant),
            (pattern.user.is_none(), Column::User),
            (pattern.session.is_none(), Column::Session),
            (pattern.task == TaskPattern::Any, Column::Task),
        ];
        columns.extend(free.into_iter().filter(|(is_free, _)| *is_free).map(|(_, column)| column));
        let titles = columns.iter().map(|column| column.title()).collect();
        Self::Table { columns, table: Table::new(titles, &["SIZE"], colours), cells: Vec::new() }
    }

    pub(super) fn push(&mut self, record: Record) -> Result<(), Failure> {
        match self {
            Self::Json { driver, lines } => lines.push_str(&json_line(&Row::new(record, driver))?),
            Self::Table { columns, cells, .. } => {
                cells.push(columns.iter().map(|column| column.cell(&record)).collect());
            }
        }
        Ok(())
    }

    /// The text of what was pushed since the last time.
    pub(super) fn take(&mut self) -> String {
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
