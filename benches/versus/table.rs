//! From samples to rows, and from rows to aligned text.

use std::fmt::Write;

use crate::cases::Case;
use crate::measure::{Metric, Rounds, Sample, median};

/// A line of the table: one metric of one pair in one mode.
pub struct Row {
    cells: [String; COLUMNS.len()],
    /// Why there is no figure, or why it should not be believed.
    pub trouble: Option<String>,
}

const COLUMNS: [&str; 7] = ["pair", "mode", "metric", "CPython", "onelock", "ratio", "spread"];
/// The columns of numbers are flush right.
const RIGHT: [bool; 7] = [false, false, false, true, true, true, true];

/// The rows of a case. Without a Python side the first variant stands in the denominator's place.
pub fn rows(case: &Case, rounds: &Rounds) -> Vec<Row> {
    let name = case.name.split_once('/').map_or(case.name.as_str(), |(_, name)| name);
    let mut rows = Vec::new();
    let python = match &rounds.python {
        Some(Ok(samples)) => samples.as_slice(),
        Some(Err(why)) => {
            rows.push(Row::failed(name, "CPython", why));
            &[]
        }
        None => &[],
    };
    let first = rounds.variants.first().and_then(|side| side.as_ref().ok());
    for (index, (variant, side)) in case.variants.iter().zip(&rounds.variants).enumerate() {
        let samples = match side {
            Ok(samples) => samples,
            Err(why) => {
                rows.push(Row::failed(name, &variant.label, why));
                continue;
            }
        };
        let (base, against) = match (&case.python, first) {
            (None, Some(first)) if index > 0 => (first.as_slice(), format!(" of {}", case.variants[0].label)),
            _ => (python, String::new()),
        };
        let mut trouble = differing(python, samples);
        for metric in samples.first().map_or(&[][..], |sample| &sample.metrics) {
            let mine = values(samples, metric);
            let theirs = values(base, metric);
            let ratios: Vec<f64> =
                theirs.iter().zip(&mine).map(|(base, own)| times(*base, *own, &metric.unit)).collect();
            let cpython =
                if case.python.is_some() { quantity(median(theirs), &metric.unit) } else { "-".into() };
            let (ratio, spread) = match extremes(&ratios) {
                Some((low, high)) => (
                    format!("{}x{against}", digits(median(ratios), 2.0)),
                    format!("{}–{}", digits(low, 2.0), digits(high, 2.0)),
                ),
                None => ("-".into(), "-".into()),
            };
            rows.push(Row {
                cells: [
                    name.into(),
                    variant.label.clone(),
                    metric.name.clone(),
                    cpython,
                    quantity(median(mine), &metric.unit),
                    ratio,
                    spread,
                ],
                trouble: trouble.take(),
            });
        }
    }
    rows
}

impl Row {
    fn failed(name: &str, label: &str, why: &str) -> Self {
        let mut cells = [const { String::new() }; COLUMNS.len()];
        cells[0] = name.into();
        cells[1] = label.into();
        cells[2] = "failed".into();
        Row { cells, trouble: Some(why.into()) }
    }
}

/// The value of a metric in each round; rounds in which a script did not print it are left out.
fn values(samples: &[Sample], wanted: &Metric) -> Vec<f64> {
    let metrics = samples.iter().flat_map(|sample| &sample.metrics);
    metrics
        .filter(|metric| metric.name == wanted.name && metric.unit == wanted.unit)
        .map(|metric| metric.value)
        .collect()
}

/// How many times as good `own` is as `base`: more is better for rates and factors, less for the rest.
fn times(base: f64, own: f64, unit: &str) -> f64 {
    if matches!(unit, "1/s" | "x") { own / base } else { base / own }
}

/// Two sides that print different things did not do the same work.
fn differing(python: &[Sample], samples: &[Sample]) -> Option<String> {
    let expected = &python.first()?.output;
    let other = samples.iter().find(|sample| sample.output != *expected)?;
    Some(format!(
        "the output differs: CPython {:?}, onelock {:?}",
        expected.trim_end(),
        other.output.trim_end()
    ))
}

fn extremes(values: &[f64]) -> Option<(f64, f64)> {
    let low = values.iter().copied().reduce(f64::min)?;
    let high = values.iter().copied().reduce(f64::max)?;
    Some((low, high))
}

/// `165,000 1/s`, `12.3 ms`; a dash where nothing was measured.
fn quantity(value: f64, unit: &str) -> String {
    if value.is_nan() { "-".into() } else { format!("{} {unit}", digits(value, 6.0)) }
}

/// Three digits that count, as far as the decimals reach, and thousands apart from each other.
fn digits(value: f64, most_decimals: f64) -> String {
    let before_the_point = value.abs().max(1e-6).log10().floor();
    let decimals = (2.0 - before_the_point).clamp(0.0, most_decimals) as usize;
    let plain = format!("{value:.decimals$}");
    let whole = plain.find('.').unwrap_or(plain.len());
    let mut out = String::new();
    for (index, digit) in plain.chars().enumerate() {
        let left = whole.saturating_sub(index);
        if index > 0 && index < whole && left % 3 == 0 && out != "-" {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The table of a group, with the troubles of its rows below it.
pub fn render(group: &str, rows: &[Row]) -> String {
    let mut widths = COLUMNS.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = format!("{group}\n");
    line(&mut out, &COLUMNS, &widths);
    line(&mut out, &widths.map(|width| "-".repeat(width)), &widths);
    let mut above = ["", ""];
    for row in rows {
        // A pair and a mode are named once, on their first row.
        let [pair, mode] = [row.cells[0].as_str(), row.cells[1].as_str()];
        let mut cells = row.cells.each_ref().map(String::as_str);
        if above[0] == pair {
            cells[0] = "";
            cells[1] = if above[1] == mode { "" } else { mode };
        }
        above = [pair, mode];
        line(&mut out, &cells, &widths);
    }
    for row in rows {
        if let Some(trouble) = &row.trouble {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "! {}, {}: {trouble}", row.cells[0], row.cells[1]);
        }
    }
    out
}

fn line(out: &mut String, cells: &[impl AsRef<str>], widths: &[usize]) {
    let mut text = String::new();
    for ((cell, width), right) in cells.iter().zip(widths).zip(RIGHT) {
        let cell = cell.as_ref();
        let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
        let (before, after) = if right { (gap.as_str(), "") } else { ("", gap.as_str()) };
        text.push_str(before);
        text.push_str(cell);
        text.push_str(after);
        text.push_str("  ");
    }
    out.push_str(text.trim_end());
    out.push('\n');
}
