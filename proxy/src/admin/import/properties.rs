//! The format of Java's properties: `key=value` or `key: value`, `\` escapes, and lines that go on after a `\`.

/// One key with its value.
pub(super) struct Property {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}

/// Reads the properties; what makes no sense is a key without a value.
pub(super) fn parse(text: &str) -> Vec<Property> {
    let mut properties = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let mut whole = first.trim_start().to_owned();
        if whole.is_empty() || whole.starts_with(['#', '!']) {
            continue;
        }
        while goes_on(&whole) {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next.trim_start());
        }
        let (key, value) = split(&whole);
        properties.push(Property { key, value: value.trim_end().to_owned(), line: index + 1 });
    }
    properties
}

fn goes_on(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

fn split(line: &str) -> (String, String) {
    let mut chars = line.chars().peekable();
    let mut key = String::new();
    while let Some(c) = chars.next_if(|c| !matches!(c, '=' | ':') && !c.is_whitespace()) {
        push(&mut key, c, &mut chars);
    }
    while chars.next_if(|c| c.is_whitespace()).is_some() {}
    if chars.next_if(|c| matches!(c, '=' | ':')).is_some() {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
    }
    let mut value = String::new();
    while let Some(c) = chars.next() {
        push(&mut value, c, &mut chars);
    }
    (key, value)
}

/// Adds a character, or what an escape stands for.
fn push(text: &mut String, c: char, rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    if c != '\\' {
        return text.push(c);
    }
    match rest.next() {
        Some('t') => text.push('\t'),
        Some('n') => text.push('\n'),
        Some('r') => text.push('\r'),
        Some('f') => text.push('\u{c}'),
        Some('u') => {
            let digits: String = rest.by_ref().take(4).collect();
            text.push(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'));
        }
        Some(other) => text.push(other),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_long_lines_are_read() {
        let text = "#comment\n! another\ndavmail.url=https\\://x.example\\u0041\n  long = one, \\\n    two\nempty=\nblank value\n";
        let read: Vec<_> = parse(text).into_iter().map(|p| (p.line, p.key, p.value)).collect();
        let expected = [
            (3, "davmail.url", "https://x.exampleA"),
            (4, "long", "one, two"),
            (6, "empty", ""),
            (7, "blank", "value"),
        ];
        assert_eq!(read, expected.map(|(line, key, value)| (line, key.to_owned(), value.to_owned())));
    }
}
