//! Tables that fit the terminal, whatever their cells hold. Pure: cells and a width in, lines out.
//!
//! Columns are as wide as they must be; where that is too wide, columns of text give way, the widest first: the last one is
//! wrapped, the others lose the middle of what doesn't fit. `-o json` and `-o yaml` have all of it.

use std::borrow::Cow;

use twinlog_proto::text::visible;
use unicode_width::UnicodeWidthChar;

/// Between columns.
const GAP: usize = 3;
/// A column of text doesn't become narrower.
const NARROWEST: usize = 8;
/// A wrapped cell has so many lines at most.
const MAX_LINES: usize = 8;
/// No cell is measured beyond this many characters: the first lines of any terminal hold fewer.
const MAX_CELL: usize = 4_000;

/// Columns of numbers are aligned to the right.
pub(super) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy)]
struct Column {
    width: usize,
    right: bool,
}

impl Table {
    pub(super) fn new<const N: usize>(header: [&'static str; N]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Cells may hold anything: what a terminal would obey is written out.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows
            .push(cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { shown(&cell) }).to_vec());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Lines of `width` columns at most.
    pub(super) fn render_within(&self, width: usize) -> String {
        self.lines(width, true)
    }

    /// One line for each row.
    pub(super) fn render_flat(&self, width: usize) -> String {
        self.lines(width, false)
    }

    fn lines(&self, width: usize, wrapped: bool) -> String {
        let columns = self.columns(width);
        let header: Vec<String> = self.header.iter().map(|cell| (*cell).to_owned()).collect();
        let mut text = String::new();
        for row in std::iter::once(&header).chain(&self.rows) {
            for line in lines_of(row, &columns, wrapped) {
                text.push_str(&fit_end(line.trim_end(), width));
                text.push('\n');
            }
        }
        text
    }

    fn columns(&self, width: usize) -> Vec<Column> {
        let mut columns: Vec<Column> = (0..self.header.len()).map(|i| self.column(i)).collect();
        let gaps = GAP * columns.len().saturating_sub(1);
        let fits = |cap: usize| {
            let widths = columns.iter().map(|c| if c.right { c.width } else { c.width.min(cap) });
            widths.sum::<usize>() + gaps <= width
        };
        let widest = columns.iter().map(|column| column.width).max().unwrap_or(0);
        let cap = (NARROWEST..=widest.min(width)).rev().find(|cap| fits(*cap)).unwrap_or(NARROWEST);
        if !fits(widest) {
            for column in columns.iter_mut().filter(|column| !column.right) {
                column.width = column.width.min(cap);
            }
            // What the cap left over goes to the last column, which is the longest text.
            let used = columns.iter().map(|column| column.width).sum::<usize>() + gaps;
            let natural = self.column(self.header.len() - 1).width;
            if let Some(last) = columns.last_mut().filter(|column| !column.right) {
                last.width = (last.width + width.saturating_sub(used)).min(natural);
            }
        }
        columns
    }

    fn column(&self, i: usize) -> Column {
        let cells = self.rows.iter().map(|row| row[i].as_str());
        let width = cells.clone().chain([self.header[i]]).map(columns_of).max().unwrap_or(0);
        let number = |cell: &str| cell == "-" || cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        let right = self.rows.iter().any(|row| row[i] != "-") && cells.clone().all(number);
        Column { width, right }
    }
}

fn shown(cell: &str) -> String {
    visible(&twinlog_proto::text::clip(cell, MAX_CELL)).into_owned()
}

/// A row's lines: one, or as many as its last cell needs.
fn lines_of(row: &[String], columns: &[Column], wrapped: bool) -> Vec<String> {
    let Some(((last, cells), column)) = row.split_last().zip(columns.last()) else { return Vec::new() };
    let mut line = String::new();
    for (cell, column) in cells.iter().zip(columns) {
        let cell = fit_middle(cell, column.width);
        let pad = " ".repeat(column.width.saturating_sub(columns_of(&cell)));
        match column.right {
            true => line.extend([&*pad, &*cell]),
            false => line.extend([&*cell, &*pad]),
        }
        line.push_str(&" ".repeat(GAP));
    }
    if column.right {
        let pad = " ".repeat(column.width.saturating_sub(columns_of(last)));
        line.extend([&*pad, last]);
        return vec![line];
    }
    let ends = match wrapped {
        true => wrap(last, column.width, MAX_LINES),
        false => vec![fit_end(last, column.width).into_owned()],
    };
    let indent = " ".repeat(columns_of(&line));
    let mut lines = Vec::with_capacity(ends.len());
    for (number, end) in ends.iter().enumerate() {
        lines.push(format!("{}{end}", if number == 0 { &line } else { &indent }));
    }
    lines
}

/// Lines of `width` columns at most, broken at blanks where there are some; at most `most` of them, the last then ends with
/// an ellipsis.
pub(super) fn wrap(text: &str, width: usize, most: usize) -> Vec<String> {
    let width = width.max(1);
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split(' ') {
        if used > 0 && used + 1 + columns_of(word) > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        } else if used > 0 {
            line.push(' ');
            used += 1;
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if used > 0 && used + wide > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += wide;
        }
    }
    lines.push(line);
    if lines.len() > most {
        let rest = lines.split_off(most.saturating_sub(1)).join(" ");
        lines.push(fit_end(&format!("{rest} …"), width).into_owned());
    }
    lines
}

/// The beginning of a text, in so many columns.
pub(super) fn fit_end(text: &str, width: usize) -> Cow<'_, str> {
    if columns_of(text) <= width {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…", first(text.chars(), width.saturating_sub(1))))
}

/// Beginning and end of a text, in so many columns: topics that differ do so at either.
fn fit_middle(text: &str, width: usize) -> Cow<'_, str> {
    if columns_of(text) <= width {
        return Cow::Borrowed(text);
    }
    let room = width.saturating_sub(1);
    let end: String = first(text.chars().rev(), room / 2).chars().rev().collect();
    Cow::Owned(format!("{}…{end}", first(text.chars(), room - room / 2)))
}

/// Columns that a terminal needs, as far as single characters tell.
fn columns_of(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// As many of the characters as fit into `width` columns.
fn first(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= width
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use twinlog_proto::text::is_hidden;

    use super::*;

    #[test]
    fn columns_fit_their_cells_and_numbers_stand_right() {
        let mut table = Table::new(["ID", "LAG", "NOTE"]);
        table.row(["orders".to_owned(), "7".to_owned(), "fine".to_owned()]);
        table.row(["a".to_owned(), "1,234".to_owned(), String::new()]);
        let expected = "ID         LAG   NOTE\norders       7   fine\na        1,234   -\n";
        assert_eq!(table.render_within(80), expected);
    }

    #[test]
    fn a_long_name_loses_its_middle_and_a_long_cause_is_wrapped() {
        let mut table = Table::new(["TOPIC", "LAG", "CAUSE"]);
        table.row([format!("first{}last", "-".repeat(240)), "12".to_owned(), "it is refused ".repeat(8)]);
        let text = table.render_within(60);
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert!(text.contains("first---") && text.contains("last    12   it is"), "{text}");
        assert_eq!(text.matches("refused").count(), 8, "{text}");
        assert_eq!(table.render_flat(60).lines().count(), 2);
    }

    #[test]
    fn a_cell_of_megabytes_is_no_panic() {
        let mut table = Table::new(["TOPIC", "CAUSE"]);
        table.row(["t".repeat(70_000), "x".repeat(4 << 20)]);
        for width in [0, 1, 20, 80, 100_000, usize::MAX / 4] {
            assert!(table.render_within(width).lines().count() >= 2, "{width}");
        }
    }

    #[test]
    fn a_cell_cannot_move_the_cursor() {
        let mut table = Table::new(["NAME"]);
        table.row(["\x1b[2J\u{202e}a\nb".to_owned()]);
        assert_eq!(table.render_within(80), "NAME\n\\u{1b}[2J\\u{202e}a\\nb\n");
    }

    proptest! {
        #[test]
        fn every_table_fits(
            rows in prop::collection::vec((any::<String>(), "[0-9]{1,30}", any::<String>(), 1_usize..80), 0..6),
            width in 1_usize..300,
        ) {
            let mut table = Table::new(["NAME", "COUNT", "CAUSE"]);
            for (name, count, cause, times) in &rows {
                table.row([name.repeat(*times), count.clone(), cause.repeat(*times)]);
            }
            for (text, most) in [(table.render_within(width), MAX_LINES), (table.render_flat(width), 1)] {
                prop_assert!(text.lines().count() <= (rows.len() + 1) * most);
                for line in text.lines() {
                    prop_assert!(columns_of(line) <= width, "{} columns of {width}: {line:?}", columns_of(line));
                    prop_assert!(!line.chars().any(is_hidden));
                }
            }
        }
    }
}
