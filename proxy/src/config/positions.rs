//! On which line of `proxy.toml` a section or a key is. The text is parsed once, and only if a line is asked for: with ten thousand
//! sections a parse for each question would take minutes.

use std::cell::OnceCell;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The positions of sections and keys in one text.
#[derive(Debug)]
pub(super) struct Positions<'a> {
    text: &'a str,
    document: OnceCell<Option<Spanned<DeTable<'a>>>>,
    /// The byte at which each line begins.
    lines: OnceCell<Vec<usize>>,
    #[cfg(test)]
    parses: std::cell::Cell<usize>,
}

impl<'a> Positions<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self {
            text,
            document: OnceCell::new(),
            lines: OnceCell::new(),
            #[cfg(test)]
            parses: std::cell::Cell::new(0),
        }
    }

    /// How often the text was parsed.
    #[cfg(test)]
    pub(super) fn parses(&self) -> usize {
        self.parses.get()
    }

    /// The line of the `index`-th `[[section]]`, or of a key inside it when it has that key.
    pub(super) fn section(&self, section: &str, index: Option<usize>, key: Option<&str>) -> Option<usize> {
        let section = self.document()?.get_ref().get(section)?;
        let section = match index {
            Some(index) => section.get_ref().as_array()?.get(index)?,
            None => section,
        };
        self.line_in(section, key)
    }

    /// The line of a key of a `[[listener.device]]`, or where its section begins.
    pub(super) fn device(&self, listener: usize, device: usize, key: &str) -> Option<usize> {
        let listener = self.document()?.get_ref().get("listener")?.get_ref().as_array()?.get(listener)?;
        let device = listener.get_ref().as_table()?.get("device")?.get_ref().as_array()?.get(device)?;
        self.line_in(device, Some(key))
    }

    /// The line of a key outside every section.
    pub(super) fn key(&self, key: &str) -> Option<usize> {
        let (name, _) = self.document()?.get_ref().iter().find(|(name, _)| name.get_ref() == key)?;
        Some(self.line_at(name.span().start))
    }

    fn line_in(&self, section: &Spanned<DeValue<'a>>, key: Option<&str>) -> Option<usize> {
        let table = section.get_ref().as_table()?;
        let span = key
            .and_then(|key| table.iter().find(|(name, _)| name.get_ref() == key))
            .map_or_else(|| section.span(), |(name, _)| name.span());
        Some(self.line_at(span.start))
    }

    fn document(&self) -> Option<&Spanned<DeTable<'a>>> {
        let parse = || {
            #[cfg(test)]
            self.parses.set(self.parses.get() + 1);
            DeTable::parse(self.text).ok()
        };
        self.document.get_or_init(parse).as_ref()
    }

    /// The line, counted from 1, of a byte of the text.
    fn line_at(&self, byte: usize) -> usize {
        let begin = |(at, _): (usize, &str)| at.saturating_add(1);
        let lines = self.lines.get_or_init(|| self.text.match_indices('\n').map(begin).collect());
        lines.partition_point(|&begin| begin <= byte).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_problem_names_its_line() {
        let text =
            "[[listener]]\naddress = \"x\"\n\n[[listener]]\n[[listener.device]]\n[[listener.device]]\nfrom = 1\n";
        let positions = Positions::of(text);
        assert_eq!(positions.device(1, 1, "from"), Some(7));
        assert_eq!(positions.device(1, 1, "account"), Some(6));
        assert_eq!(positions.device(2, 0, "from"), None);
    }

    #[test]
    fn sections_and_keys_are_found_by_their_line() {
        let positions =
            Positions::of("host-name = \"h\"\n[log]\n\nlevel = \"x\"\n[[account]]\n[[account]]\nlogin = \"l\"");
        assert_eq!(positions.key("host-name"), Some(1));
        assert_eq!(positions.section("log", None, None), Some(2));
        assert_eq!(positions.section("log", None, Some("level")), Some(4));
        assert_eq!(
            positions.section("account", Some(0), Some("login")),
            Some(5),
            "the section where the key is missing"
        );
        assert_eq!(positions.section("account", Some(1), Some("login")), Some(7));
        assert_eq!(positions.section("account", Some(2), None), None);
        assert_eq!(positions.key("port"), None);
    }

    #[test]
    fn ten_thousand_lines_are_found_with_one_parse() {
        let text = "[[account]]\nmailbox = \"a\"\n".repeat(10_000);
        let positions = Positions::of(&text);
        for index in 0..10_000 {
            assert_eq!(positions.section("account", Some(index), Some("mailbox")), Some(2 * index + 2));
        }
        assert_eq!(positions.parses(), 1);
    }

    #[test]
    fn text_that_is_not_toml_has_no_positions() {
        let positions = Positions::of("[[account");
        assert_eq!((positions.section("account", Some(0), None), positions.key("a")), (None, None));
        assert_eq!(positions.parses(), 1);
    }
}
