//! The dots that make a message transparent (RFC 5321, 4.5.2), taken off so that its header can be read, and put on again.
//! A server reads `.From:` as `From:`.

/// One direction of a message whose lines end in CRLF.
#[derive(Debug)]
pub(super) struct DotStuffing {
    at_line_start: bool,
}

impl Default for DotStuffing {
    fn default() -> Self {
        Self { at_line_start: true }
    }
}

impl DotStuffing {
    /// The bytes without the dots in front of lines.
    pub(super) fn unstuff(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for (line, has_dot) in self.lines(bytes) {
            out.extend_from_slice(line.get(usize::from(has_dot)..).unwrap_or_default());
        }
        out
    }

    /// The bytes with a dot in front of every line that begins with one.
    pub(super) fn stuff(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for (line, has_dot) in self.lines(bytes) {
            out.extend(has_dot.then_some(b'.'));
            out.extend_from_slice(line);
        }
    }

    /// Each line, or piece of one, and whether it begins a line with a dot.
    fn lines<'a>(&mut self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a [u8], bool)> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, after) = rest.split_at_checked(end)?;
            rest = after;
            let has_dot = self.at_line_start && line.first() == Some(&b'.');
            self.at_line_start = *line.last()? == b'\n';
            Some((line, has_dot))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_off_is_put_on_again() {
        for (stuffed, plain) in
            [("..a\r\n...\r\n.b.\r\n", ".a\r\n..\r\nb.\r\n"), ("a.\r\n..\r\n", "a.\r\n.\r\n"), ("", "")]
        {
            for piece in [1, 3, 100] {
                let (mut off, mut on) = (DotStuffing::default(), DotStuffing::default());
                let (mut bare, mut out) = (Vec::new(), Vec::new());
                for piece in stuffed.as_bytes().chunks(piece) {
                    let piece = off.unstuff(piece);
                    on.stuff(&piece, &mut out);
                    bare.extend(piece);
                }
                assert_eq!(String::from_utf8(bare).unwrap(), plain);
                let again = stuffed.replace(".b", "b");
                assert_eq!(String::from_utf8(out).unwrap(), again);
            }
        }
    }
}
