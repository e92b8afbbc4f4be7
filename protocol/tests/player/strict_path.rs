//! A reader of MAIL and RCPT that knows RFC 5321's and RFC 6531's grammar and forgives nothing: what it takes is what the server
//! may be sent, and the address that it finds is the one that counts. It shares no line with the reader under test, and
//! none of its thoughts: it goes forward over a line a character at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// The address in a line without its end. Panics if any other could be found in it.
pub fn address(line: &[u8]) -> String {
    let text = std::str::from_utf8(line).unwrap_or_else(|_| panic!("no UTF-8: {}", line.escape_ascii()));
    let fail = |why: &str| -> ! { panic!("{why}: {}", line.escape_ascii()) };
    let path = ["MAIL FROM:<", "RCPT TO:<"].iter().find_map(|begin| {
        let (found, rest) = text.split_at_checked(begin.len())?;
        found.eq_ignore_ascii_case(begin).then_some(rest)
    });
    let Some(path) = path else { fail("neither MAIL nor RCPT") };
    let mut chars = path.chars().peekable();
    let mut address = String::new();
    let (mut quoted, mut domain, mut literal) = (false, None, false);
    loop {
        let Some(c) = chars.next() else { fail("no end of the path") };
        match c {
            '"' if address.is_empty() => quoted = true,
            '"' if quoted => {
                quoted = false;
                address.push(c);
                if chars.peek() != Some(&'@') {
                    fail("something follows the quoted string");
                }
                continue;
            }
            '\\' if quoted => {
                address.push(c);
                match chars.next() {
                    Some(escaped @ ' '..='~') => address.push(escaped),
                    _ => fail("nothing is escaped"),
                }
                continue;
            }
            _ if quoted && !c.is_control() => {}
            '>' => break,
            '@' if domain.is_none() && !address.is_empty() => {
                domain = Some(address.len() + 1);
                literal = chars.peek() == Some(&'[');
            }
            '[' if literal && address.ends_with('@') => {}
            ']' if literal && chars.peek() == Some(&'>') => {}
            ':' if literal => {}
            c if c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) => {}
            c if !c.is_ascii() && !c.is_control() && !c.is_whitespace() => {}
            _ => fail("a character that no address has"),
        }
        address.push(c);
    }
    let domain = domain.map(|at| &address[at..]);
    if domain.is_some_and(|domain| domain.is_empty() || domain.starts_with('.') || literal && !domain.ends_with(']')) {
        fail("no domain");
    }
    let rest: String = chars.collect();
    if rest.is_empty() {
        return address;
    }
    let Some(parameters) = rest.strip_prefix(' ') else { fail("something follows the path") };
    for parameter in parameters.split(' ') {
        let (keyword, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let alphanumeric = |c: char| c.is_ascii_alphanumeric();
        if !keyword.starts_with(alphanumeric) || !keyword.chars().all(|c| alphanumeric(c) || c == '-') {
            fail("no parameter");
        }
        let brackets = value.contains(['<', '>']) && !parameter.eq_ignore_ascii_case("AUTH=<>");
        if brackets || value.chars().any(|c| c.is_control() || c.is_whitespace()) {
            fail("a parameter that could be an address");
        }
    }
    address
}
