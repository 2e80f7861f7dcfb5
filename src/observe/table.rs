//! Tables of figures: aligned columns, no lines but the one below the header.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};

const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table whose first column holds names and whose others hold figures.
pub(super) fn figures(header: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(aligned(header));
    for row in rows {
        table.add_row(aligned(row));
    }
    // The table begins and ends where its text does.
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    if let Some(last) = table.column_count().checked_sub(1).and_then(|last| table.column_mut(last)) {
        last.set_padding((1, 0));
    }
    table.trim_fmt()
}

fn aligned(cells: Vec<String>) -> Vec<Cell> {
    let align = |(column, text): (usize, String)| {
        let alignment = if column == 0 { CellAlignment::Left } else { CellAlignment::Right };
        Cell::new_owned(text).set_alignment(alignment)
    };
    cells.into_iter().enumerate().map(align).collect()
}

/// A count with its thousands set apart: `1 234 567`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A time in milliseconds, without the unit.
pub(super) fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    let whole = count(ms as u64);
    format!("{whole}.{}", (ms.fract() * 10.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn times_have_one_decimal() {
        assert_eq!(milliseconds(Duration::from_micros(1_234_567)), "1 234.5");
        assert_eq!(milliseconds(Duration::ZERO), "0.0");
    }

    #[test]
    fn figures_stand_under_each_other() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["long".into(), "22".into()]];
        let text = figures(vec!["name".into(), "n".into()], rows);
        let ends: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert!(ends.iter().all(|end| *end == ends[0]), "{text}");
    }
}
