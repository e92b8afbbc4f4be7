//! The format of Python's `configparser` as email-oauth2-proxy uses it: sections, `key = value` or `key: value`, values
//! that go on in deeper lines, no interpolation, nothing twice.

use std::collections::HashMap;
use std::rc::Rc;

use super::Unreadable;

/// Gives its values to every other section.
const DEFAULTS: &str = "DEFAULT";

/// A section with its entries, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) entries: Vec<Entry>,
    places: HashMap<String, usize>,
    defaults: Option<Rc<Section>>,
}

/// One key with its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}

/// A value may be a secret or a token.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (line {})", self.key, self.line)
    }
}

impl Section {
    fn new(name: &str, line: usize) -> Self {
        Self { name: name.to_owned(), line, ..Self::default() }
    }

    /// The entry of a key that has a value.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match self.places.get(key).and_then(|place| self.entries.get(*place)) {
            Some(own) => Some(own).filter(|own| !own.value.is_empty()),
            None => self.defaults.as_ref().and_then(|defaults| defaults.entry(key)),
        }
    }

    /// The value of a key that has one.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.entry(key).map(|entry| entry.value.as_str())
    }

    /// A value that says yes.
    pub(super) fn is_on(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "yes" | "true" | "on"))
    }

    /// Adds an entry; `false` if the key is there.
    fn add(&mut self, entry: Entry) -> bool {
        let free = !self.places.contains_key(&entry.key);
        if free {
            self.places.insert(entry.key.clone(), self.entries.len());
            self.entries.push(entry);
        }
        free
    }

    /// Puts an entry in the place of the one with its key, or behind all others.
    pub(super) fn put(&mut self, entry: &Entry) {
        match self.places.get(&entry.key).and_then(|place| self.entries.get_mut(*place)) {
            Some(own) => own.clone_from(entry),
            None => {
                self.add(entry.clone());
            }
        }
    }
}

/// Reads the sections.
///
/// # Errors
/// What the format does not allow. The text of a line is never repeated: it may be half a token.
pub(super) fn parse(text: &str) -> Result<Vec<Section>, Unreadable> {
    let mut sections: Vec<Section> = Vec::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut depth = 0;
    for (index, raw) in text.lines().enumerate() {
        let (line, words) = (index + 1, raw.trim());
        if words.is_empty() || words.starts_with(['#', ';']) {
            continue;
        }
        let wrong = |why: String| Err(Unreadable::Line { line, why });
        let indent = raw.len() - raw.trim_start().len();
        let last = sections.last_mut().and_then(|section| section.entries.last_mut());
        if let Some(entry) = last.filter(|_| indent > depth) {
            entry.value.push('\n');
            entry.value.push_str(words);
            continue;
        }
        depth = indent;
        let header = words.strip_prefix('[').and_then(|rest| rest.rsplit_once(']')).map(|(name, _)| name);
        if let Some(name) = header.filter(|name| !name.is_empty()) {
            if let Some(first) = names.insert(name.to_owned(), line) {
                return wrong(format!(
                    "the section [{}] already began on line {first}; merge the two",
                    super::shown(name)
                ));
            }
            sections.push(Section::new(name, line));
            continue;
        }
        let Some(section) = sections.last_mut() else { return Err(Unreadable::Unknown) };
        let Some((key, value)) = words.split_once(['=', ':']).filter(|(key, _)| !key.trim().is_empty()) else {
            return wrong("this is neither a [section] nor `key = value`".to_owned());
        };
        let entry = Entry { key: key.trim().to_lowercase(), value: value.trim().to_owned(), line };
        if let Some(entry) = Some(&entry).filter(|entry| section.places.contains_key(&entry.key)) {
            return wrong(format!("{} is a duplicate in this section; remove one", super::key_name(&entry.key)));
        }
        section.add(entry);
    }
    inherit(&mut sections);
    Ok(sections)
}

fn inherit(sections: &mut Vec<Section>) {
    let Some(place) = sections.iter().position(|section| section.name == DEFAULTS) else { return };
    let defaults = Rc::new(sections.remove(place));
    for section in sections {
        section.defaults = Some(Rc::clone(&defaults));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keys_continuations_and_defaults_are_read() {
        let text = "# a comment\n[DEFAULT]\nlocal_address = 127.0.0.1\n[A-1]\nDocumentation = one\n\ttwo\n\n\t[three] = not a key\n\
                    Port: 993\nstarttls = True\n; another\n[b@x]\n  key=v=w\n  local_address = ::1\n  empty =\n";
        let sections = parse(text).unwrap();
        let [a, b] = sections.as_slice() else { panic!("{sections:?}") };
        assert_eq!((a.name.as_str(), a.line), ("A-1", 4));
        assert_eq!(a.get("documentation"), Some("one\ntwo\n[three] = not a key"));
        assert_eq!((a.get("port"), a.entry("port").unwrap().line), (Some("993"), 9));
        assert!(a.is_on("starttls") && !a.is_on("port") && !a.is_on("none"));
        assert_eq!((a.get("local_address"), b.get("local_address")), (Some("127.0.0.1"), Some("::1")));
        assert_eq!((b.get("key"), b.get("empty")), (Some("v=w"), None));
    }

    #[test]
    fn what_is_no_such_file_is_refused_and_not_repeated() {
        assert_eq!(parse("hello").unwrap_err(), Unreadable::Unknown);
        assert_eq!(parse("key = value").unwrap_err(), Unreadable::Unknown);
        let twice = parse("[a]\nx=1\n[a]\n").unwrap_err().to_string();
        assert!(twice.contains("line 3") && twice.contains("line 1") && twice.contains("[a]"), "{twice}");
        let twice = parse("[a]\nx=1\nX = 2\n").unwrap_err().to_string();
        assert!(twice.contains("line 3") && twice.contains("`x`"), "{twice}");
        // A token that was wrapped by a mail program.
        let wrapped = parse("[a]\nrefresh_token = gAAAAAB\nhalfatoken\n").unwrap_err().to_string();
        assert!(wrapped.contains("line 3") && !wrapped.contains("halfatoken"), "{wrapped}");
        assert!(parse("").unwrap().is_empty());
    }
}
