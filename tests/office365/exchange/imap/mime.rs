//! As much of a message's inside as ENVELOPE, BODYSTRUCTURE and numbered sections need (RFC 2045, RFC 3501 section 7.4.2).

use std::ops::Range;

use memchr::memmem;

/// Parts within parts within parts: no deeper than this.
const MAX_DEPTH: usize = 8;
/// Of a message's lines, so many octets are looked at for its header.
const MAX_HEADER: usize = 1024 * 1024;

/// Where the header of a part or a message ends; the empty line belongs to it.
pub(super) fn header_length(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\r\n") {
        return 2;
    }
    let head = bytes.get(..MAX_HEADER.min(bytes.len())).unwrap_or_default();
    memmem::find(head, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4)
}

/// The fields of a header, unfolded.
pub(super) fn fields(header: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(header).replace("\r\n ", " ").replace("\r\n\t", " ");
    let pairs = text.split("\r\n").filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

pub(super) fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The lines of some header fields as they were sent, and the empty line behind them.
pub(super) fn chosen_fields(header: &[u8], names: &[String], unwanted: bool) -> Vec<u8> {
    let mut chosen = Vec::new();
    let mut keep = false;
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        if matches!(line, b"\r\n" | b"\n") {
            break;
        }
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            keep = names.iter().any(|wanted| wanted.as_bytes().eq_ignore_ascii_case(name)) != unwanted;
        }
        if keep {
            chosen.extend_from_slice(line);
        }
    }
    chosen.extend_from_slice(b"\r\n");
    chosen
}

/// A part of a message, by the places of its header and its body in the whole.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) header: Range<usize>,
    pub(super) body: Range<usize>,
    fields: Vec<(String, String)>,
    parts: Vec<Part>,
}

impl Part {
    pub(super) fn read(message: &[u8]) -> Self {
        Self::within(message, 0..message.len(), 0)
    }

    fn within(message: &[u8], place: Range<usize>, depth: usize) -> Self {
        let bytes = message.get(place.clone()).unwrap_or_default();
        let length = header_length(bytes);
        let header = place.start..place.start + length;
        let body = header.end..place.end;
        let fields = fields(bytes.get(..length).unwrap_or_default());
        let mut part = Self { header, body, fields, parts: Vec::new() };
        if depth < MAX_DEPTH
            && let Some(boundary) = part.boundary()
        {
            let places = split(message, part.body.clone(), &boundary);
            part.parts = places.into_iter().map(|place| Self::within(message, place, depth + 1)).collect();
        }
        part
    }

    /// The part that `1.2` names; in a message that is not multipart, 1 is its text.
    pub(super) fn find(&self, path: &[usize]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        if self.parts.is_empty() {
            return (*first == 1 && rest.is_empty()).then_some(self);
        }
        self.parts.get(first.checked_sub(1)?)?.find(rest)
    }

    fn content_type(&self) -> (String, String, Vec<(String, String)>) {
        let value = field(&self.fields, "Content-Type").unwrap_or("text/plain; charset=us-ascii");
        let mut words = value.split(';');
        let (kind, subtype) = words.next().unwrap_or_default().split_once('/').unwrap_or(("text", "plain"));
        let parameters = words.filter_map(|word| word.split_once('='));
        let parameters =
            parameters.map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches('"').to_owned()));
        (kind.trim().to_owned(), subtype.trim().to_owned(), parameters.collect())
    }

    fn boundary(&self) -> Option<String> {
        let (kind, _, parameters) = self.content_type();
        let boundary = parameters.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("boundary"));
        boundary
            .filter(|_| kind.eq_ignore_ascii_case("multipart"))
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
    }

    /// BODYSTRUCTURE, or BODY without the extension data.
    pub(super) fn structure(&self, message: &[u8], extended: bool) -> String {
        let (kind, subtype, parameters) = self.content_type();
        let listed = parameter_list(&parameters);
        if !self.parts.is_empty() {
            let inner: String = self.parts.iter().map(|part| part.structure(message, extended)).collect();
            let more = if extended { format!(" {listed} NIL NIL") } else { String::new() };
            return format!("({inner} {}{more})", quoted(&subtype.to_ascii_uppercase()));
        }
        let body = message.get(self.body.clone()).unwrap_or_default();
        let encoding = field(&self.fields, "Content-Transfer-Encoding").unwrap_or("7BIT").to_ascii_uppercase();
        let mut text = format!(
            "({} {} {listed} {} {} {} {}",
            quoted(&kind.to_ascii_uppercase()),
            quoted(&subtype.to_ascii_uppercase()),
            optional(field(&self.fields, "Content-ID")),
            optional(field(&self.fields, "Content-Description")),
            quoted(&encoding),
            body.len()
        );
        if kind.eq_ignore_ascii_case("text") {
            text.push_str(&format!(" {}", memchr::memchr_iter(b'\n', body).count()));
        } else if kind.eq_ignore_ascii_case("message") && subtype.eq_ignore_ascii_case("rfc822") {
            let inner = Self::read(body);
            let lines = memchr::memchr_iter(b'\n', body).count();
            text.push_str(&format!(" {} {} {lines}", envelope(&inner.fields), inner.structure(body, extended)));
        }
        if extended {
            text.push_str(&format!(" NIL {} NIL", self.disposition()));
        }
        text.push(')');
        text
    }

    fn disposition(&self) -> String {
        let Some(value) = field(&self.fields, "Content-Disposition") else { return "NIL".to_owned() };
        let mut words = value.split(';');
        let kind = quoted(&words.next().unwrap_or_default().trim().to_ascii_uppercase());
        let parameters = words.filter_map(|word| word.split_once('='));
        let parameters: Vec<(String, String)> = parameters
            .map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches('"').to_owned()))
            .collect();
        format!("({kind} {})", parameter_list(&parameters))
    }
}

fn parameter_list(parameters: &[(String, String)]) -> String {
    if parameters.is_empty() {
        return "NIL".to_owned();
    }
    let pair = |(name, value): &(String, String)| format!("{} {}", quoted(&name.to_ascii_uppercase()), quoted(value));
    format!("({})", parameters.iter().map(pair).collect::<Vec<_>>().join(" "))
}

/// The places of the parts between the lines of a boundary.
fn split(message: &[u8], body: Range<usize>, boundary: &str) -> Vec<Range<usize>> {
    let delimiter = format!("--{boundary}");
    let bytes = message.get(body.clone()).unwrap_or_default();
    let mut places = Vec::new();
    let mut open: Option<usize> = None;
    for at in memmem::find_iter(bytes, delimiter.as_bytes()) {
        let starts_line = at == 0 || bytes.get(..at).is_some_and(|before| before.ends_with(b"\n"));
        let behind = bytes.get(at + delimiter.len()..).unwrap_or_default();
        let last = behind.starts_with(b"--");
        if !starts_line || !(last || behind.starts_with(b"\r\n") || behind.starts_with(b"\n")) {
            continue;
        }
        if let Some(start) = open {
            let end = at.saturating_sub(2).max(start);
            places.push(body.start + start..body.start + end);
        }
        if last {
            return places;
        }
        open = memchr::memchr(b'\n', behind).map(|line_end| at + delimiter.len() + line_end + 1);
    }
    if let Some(start) = open {
        places.push(body.start + start..body.end);
    }
    places
}

/// RFC 3501 section 7.4.2: date, subject, from, sender, reply-to, to, cc, bcc, in-reply-to, message-id.
pub(super) fn envelope(fields: &[(String, String)]) -> String {
    let text = |name: &str| optional(field(fields, name));
    let from = addresses(field(fields, "From"));
    let or_from = |name: &str| field(fields, name).map_or_else(|| from.clone(), |value| addresses(Some(value)));
    format!(
        "({} {} {from} {} {} {} {} {} {} {})",
        text("Date"),
        text("Subject"),
        or_from("Sender"),
        or_from("Reply-To"),
        addresses(field(fields, "To")),
        addresses(field(fields, "Cc")),
        addresses(field(fields, "Bcc")),
        text("In-Reply-To"),
        text("Message-ID")
    )
}

/// A list of addresses; commas within quotes do not part them.
fn addresses(value: Option<&str>) -> String {
    let mut quoted = false;
    let parted = value.unwrap_or_default().split(|character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    });
    let list: String = parted.map(str::trim).filter(|one| !one.is_empty()).map(address).collect();
    if list.is_empty() { "NIL".to_owned() } else { format!("({list})") }
}

fn address(text: &str) -> String {
    let (name, address) = text.rsplit_once('<').map_or(("", text), |(name, rest)| (name, rest.trim_end_matches('>')));
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let name = Some(name.trim().trim_matches('"')).filter(|name| !name.is_empty());
    format!("({} NIL {} {})", optional(name), quoted(local), quoted(domain))
}

fn optional(text: Option<&str>) -> String {
    text.map_or_else(|| "NIL".to_owned(), quoted)
}

/// A quoted string; what it cannot carry becomes a literal.
fn quoted(text: &str) -> String {
    if text.is_ascii() && !text.contains(['\r', '\n', '\0']) {
        return format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    format!("{{{}}}\r\n{text}", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &[u8] = b"From: Alice <alice@contoso.com>\r\nTo: \"Smith, Bob\" <bob@x.example>,\r\n carol@x.example\r\n\
        Subject: a \"b\"\r\nContent-Type: multipart/mixed; boundary=\"xx\"\r\n\r\npreamble\r\n--xx\r\n\r\none\r\n--xx\r\n\
        Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\
        Content-Disposition: attachment; filename=a.pdf\r\n\r\nAAAA\r\n--xx--\r\n";

    #[test]
    fn an_envelope_has_ten_places() {
        assert_eq!(
            envelope(&Part::read(MIXED).fields),
            r#"(NIL "a \"b\"" (("Alice" NIL "alice" "contoso.com")) (("Alice" NIL "alice" "contoso.com")) (("Alice" NIL "alice" "contoso.com")) (("Smith, Bob" NIL "bob" "x.example")(NIL NIL "carol" "x.example")) NIL NIL NIL NIL)"#
        );
    }

    #[test]
    fn the_structure_of_a_multipart_message_and_its_numbered_parts() {
        let part = Part::read(MIXED);
        assert_eq!(
            part.structure(MIXED, true),
            r#"(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0 NIL NIL NIL)("APPLICATION" "PDF" ("NAME" "a.pdf") NIL NIL "BASE64" 4 NIL ("ATTACHMENT" ("FILENAME" "a.pdf")) NIL) "MIXED" ("BOUNDARY" "xx") NIL NIL)"#
        );
        let body = |path: &[usize]| part.find(path).map(|part| MIXED.get(part.body.clone()).unwrap());
        assert_eq!(body(&[1]).unwrap(), b"one");
        assert_eq!(body(&[2]).unwrap(), b"AAAA");
        assert!(body(&[3]).is_none());
    }

    #[test]
    fn chosen_header_fields_keep_their_bytes() {
        let header = b"To: a,\r\n b\r\nFrom: c\r\nX: d\r\n\r\n";
        let names = ["to".to_owned(), "X".to_owned()];
        assert_eq!(chosen_fields(header, &names, false), b"To: a,\r\n b\r\nX: d\r\n\r\n");
        assert_eq!(chosen_fields(header, &names, true), b"From: c\r\n\r\n");
    }
}
