//! Aligned tables for people.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A table with a header. Columns whose name begins with `#` contain numbers.
pub(crate) struct Sheet {
    table: Table,
}

impl Sheet {
    pub(crate) fn new(head: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(head.iter().map(|name| name.trim_start_matches('#').to_uppercase()));
        for (column, name) in table.column_iter_mut().zip(head) {
            column.set_padding((0, 2));
            if name.starts_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { table }
    }

    pub(crate) fn row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.table.add_row(cells.into_iter().map(|cell| visible(&cell.to_string())));
    }

    /// Appends the lines, without trailing blanks.
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        for line in self.table.lines() {
            out.extend_from_slice(line.trim_end().as_bytes());
            out.push(b'\n');
        }
    }
}

/// Escapes text that brokers and other clients chose, such as client ids, so that it cannot control the terminal.
pub(crate) fn visible(text: &str) -> String {
    let show = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_end_together() {
        let mut sheet = Sheet::new(&["topic", "#partitions"]);
        sheet.row(["orders", "3"]);
        sheet.row(["a\u{1b}b", "120"]);
        let mut out = Vec::new();
        sheet.push(&mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            ["TOPIC     PARTITIONS", "orders             3", "a\\u{1b}b         120"],
            "{text}"
        );
    }
}
