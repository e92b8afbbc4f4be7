//! The one table: a row for each figure, a column for each proxy, what is missing explained below.

use std::fmt;

use crate::peer::Kind;

/// What came out for one proxy.
pub(crate) type Figure = Result<Measured, String>;

/// A figure, and of how many it is the mean or the median.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) value: f64,
    pub(crate) n: usize,
}

/// The table.
pub(crate) struct Table(Vec<Row>);

struct Row {
    what: String,
    figures: Vec<(Kind, Figure)>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a row; `what` names the unit.
    pub(crate) fn add(&mut self, what: impl Into<String>, figures: Vec<(Kind, Figure)>) {
        self.0.push(Row { what: what.into(), figures });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut notes = Vec::new();
        let heading = std::iter::once("value, ratio to Oxpost's, n".to_owned());
        let heading: Vec<String> = heading.chain(Kind::ALL.iter().map(|kind| kind.name().to_owned())).collect();
        let body = self.0.iter().map(|row| {
            let cells = Kind::ALL.iter().map(|&kind| row.cell(kind, &mut notes));
            std::iter::once(row.what.clone()).chain(cells).collect::<Vec<String>>()
        });
        let lines: Vec<Vec<String>> = std::iter::once(heading).chain(body).collect();
        let width = |column: usize| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        for (number, line) in lines.iter().enumerate() {
            for (column, cell) in line.iter().enumerate() {
                write!(f, "| {cell:<width$} ", width = width(column))?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                for column in 0..line.len() {
                    write!(f, "|{:-<width$}", "", width = width(column) + 2)?;
                }
                writeln!(f, "|")?;
            }
        }
        writeln!(f)?;
        for (number, note) in notes.iter().enumerate() {
            writeln!(f, "[{}] {note}", number + 1)?;
        }
        Ok(())
    }
}

impl Row {
    fn cell(&self, kind: Kind, notes: &mut Vec<String>) -> String {
        let figure = |wanted: Kind| self.figures.iter().find(|(kind, _)| *kind == wanted).map(|(_, figure)| figure);
        match figure(kind) {
            None => String::new(),
            Some(Ok(Measured { value, n })) => match figure(Kind::Oxpost) {
                Some(Ok(ours)) if ours.value > 0.0 => {
                    format!("{}, {:.2}, {n}", short(*value), value / ours.value)
                }
                _ => format!("{}, -, {n}", short(*value)),
            },
            Some(Err(why)) => {
                let number = notes.iter().position(|note| note == why).unwrap_or_else(|| {
                    notes.push(why.clone());
                    notes.len() - 1
                });
                format!("[{}]", number + 1)
            }
        }
    }
}

/// Three digits are more than two runs agree in.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_oxpost_and_reasons_stand_below() {
        let mut table = Table::new();
        let figures = vec![
            (Kind::Oxpost, Ok(Measured { value: 20.0, n: 7 })),
            (Kind::HaProxy, Ok(Measured { value: 5.0, n: 9 })),
            (Kind::Stunnel, Err("cannot".into())),
            (Kind::EmailProxy, Err("cannot".into())),
        ];
        table.add("apples, KiB", figures);
        let text = table.to_string();
        let row = text.lines().find(|line| line.contains("apples, KiB")).unwrap();
        assert!(row.contains("20.0, 1.00, 7") && row.contains("5.00, 0.25, 9"), "{row}");
        assert_eq!(text.matches("[1]").count(), 3, "{text}");
        assert!(text.contains("[1] cannot"), "{text}");
    }
}
