//! Figures of several rounds, and tables of them.

use std::fmt::Write;
use std::time::Instant;

/// What one thing measured in each round.
#[derive(Debug, Clone, Default)]
pub struct Figures(Vec<f64>);

impl Figures {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = |at: usize| sorted.get(at).copied().unwrap_or(f64::NAN);
        f64::midpoint(middle(sorted.len().saturating_sub(1) / 2), middle(sorted.len() / 2))
    }

    pub fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// What is made of each figure and the one of the same round in `other`.
    pub fn with(&self, other: &Self, join: impl Fn(f64, f64) -> f64) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, other)| join(*own, *other)).collect())
    }

    /// What is made of each figure.
    pub fn map(&self, make: impl Fn(f64) -> f64) -> Self {
        Self(self.0.iter().map(|value| make(*value)).collect())
    }

    /// Ratios of each round.
    pub fn over(&self, other: &Self) -> Self {
        self.with(other, |own, other| own / other)
    }

    /// Median, minimum and maximum.
    pub fn cell(&self, digits: usize) -> String {
        let (least, most) = (self.least(), self.most());
        format!("{:.digits$} ({least:.digits$} to {most:.digits$})", self.median())
    }

    /// [`Figures::cell`], and whether the median is at least what is wanted.
    pub fn at_least(&self, digits: usize, wanted: f64) -> String {
        let is_met = self.median() >= wanted;
        format!("{}; {} {wanted}", self.cell(digits), if is_met { "≥" } else { "**below**" })
    }

    /// [`Figures::cell`], and whether the median is at most what is wanted.
    pub fn at_most(&self, digits: usize, wanted: f64) -> String {
        let is_met = self.median() <= wanted;
        format!("{}; {} {wanted}", self.cell(digits), if is_met { "≤" } else { "**above**" })
    }
}

/// A table in Markdown.
#[derive(Debug)]
pub struct Table {
    columns: usize,
    text: String,
}

impl Table {
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        let mut table = Self { columns: N, text: String::new() };
        table.row(head.map(str::to_owned));
        table.text.push_str(&"|---".repeat(N));
        table.text.push_str("|\n");
        table
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns);
        for cell in cells {
            // Writing to a string cannot fail.
            let _ = write!(self.text, "| {cell} ");
        }
        self.text.push_str("|\n");
    }

    pub fn last_row(&self) -> &str {
        self.text.lines().last().unwrap_or_default()
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

pub fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
