//! Text as people write it: the one reader of every text file and pipe that an administrator fills.
//!
//! An editor, a shell or a download decides how a text is stored, and the administrator rarely knows how. So a byte order mark is removed,
//! every line end is accepted, and what cannot be read is explained: where it is, what was found, and the command that changes it. No error
//! shows a part of the text, which is a secret more often than not.

mod decode;
mod error;
mod pem;
#[doc(hidden)]
pub mod shapes;
#[cfg(test)]
mod tests;
mod value;

use std::{
    fs::{self, Metadata},
    io::{self, BufRead, Read},
    path::Path,
};

use oxpost_protocol::Secret;
use zeroize::Zeroizing;

use self::error::{Fault, Origin};
pub use self::{error::TextError, pem::Pem};

/// A file that was opened and not read yet, so that its permissions are those of what is read.
#[derive(Debug)]
pub struct TextFile {
    origin: Origin,
    file: fs::File,
}

impl TextFile {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let origin = Origin::File(path.to_owned());
        match fs::File::open(path) {
            Ok(file) => Ok(Self { origin, file }),
            Err(error) => Err(origin.unreadable(&error)),
        }
    }

    /// What the system says about the file.
    ///
    /// # Errors
    /// The system says nothing.
    pub fn metadata(&self) -> Result<Metadata, TextError> {
        self.file.metadata().map_err(|error| self.origin.unreadable(&error))
    }

    /// Its bytes as they are, for formats that are no text. `limit` is in bytes.
    ///
    /// # Errors
    /// It cannot be read, or is longer.
    pub fn bytes(self, limit: u64) -> Result<Secret, TextError> {
        bytes(&self.origin, self.file, limit).map(|bytes| Secret::new(&**bytes))
    }

    /// Its text. `limit` is in bytes.
    ///
    /// # Errors
    /// It cannot be read, is longer, or is not UTF-8.
    pub fn text(self, limit: u64) -> Result<Text, TextError> {
        let bytes = bytes(&self.origin, self.file, limit)?;
        Text::of(self.origin, &bytes)
    }

    /// Its text, where the format allows ISO 8859-1 as well, which every byte is a character of. `limit` is in bytes.
    ///
    /// # Errors
    /// It cannot be read, is longer, or is UTF-16.
    pub fn text_or_latin1(self, limit: u64) -> Result<Text, TextError> {
        let bytes = bytes(&self.origin, self.file, limit)?;
        match decode::decode(&bytes) {
            Err(Fault::NotUtf8 { .. }) => {
                let text: Zeroizing<String> = Zeroizing::new(bytes.iter().map(|byte| char::from(*byte)).collect());
                Ok(Text { origin: self.origin, text: decode::with_plain_line_ends(&text) })
            }
            Err(fault) => Err(TextError::new(self.origin, fault)),
            Ok(text) => Ok(Text { origin: self.origin, text }),
        }
    }

    /// Its certificates and keys. `limit` is in bytes.
    ///
    /// # Errors
    /// It cannot be read, is longer, or is no PEM text.
    pub fn pem(self, limit: u64) -> Result<Pem, TextError> {
        let bytes = bytes(&self.origin, self.file, limit)?;
        Pem::of(self.origin, &bytes)
    }
}

/// A text: UTF-8 without a byte order mark, each line but the last ended by LF. It is wiped when it is dropped.
pub struct Text {
    origin: Origin,
    text: Zeroizing<String>,
}

impl Text {
    fn of(origin: Origin, bytes: &[u8]) -> Result<Self, TextError> {
        match decode::decode(bytes) {
            Ok(text) => Ok(Self { origin, text }),
            Err(fault) => Err(TextError::new(origin, fault)),
        }
    }

    /// A text that was in a file in sealed form.
    pub(crate) fn opened(path: &Path, text: Zeroizing<String>) -> Self {
        Self { origin: Origin::File(path.to_owned()), text }
    }

    /// The text of an environment variable, by name. `None` if it is not set.
    pub(crate) fn of_variable(name: &str) -> Option<Result<Self, TextError>> {
        // The system's look-up panics at other names.
        let is_name = !name.is_empty() && !name.contains(['=', '\0']);
        let value = is_name.then(|| std::env::var_os(name)).flatten()?;
        Some(Self::of(Origin::Variable(name.to_owned()), &Zeroizing::new(value.into_encoded_bytes())))
    }

    /// The text itself. The caller is responsible for where it goes.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The only line of the text, without its end. `what` is the phrase for it in errors, such as "the client secret's Value".
    ///
    /// # Errors
    /// It is empty, has several lines, white space or quotes around it, or invisible characters in it.
    pub fn value(&self, what: &'static str) -> Result<Secret, TextError> {
        value::of(&self.text).map(Secret::from).map_err(|fault| self.error(fault, what))
    }

    fn error(&self, fault: Fault, what: &'static str) -> TextError {
        TextError::new(self.origin.clone(), fault).about(what)
    }
}

/// The value of an environment variable. `None` if it is not set. `what` is the phrase for it in errors.
///
/// # Errors
/// It is not Unicode, or no value of one line; see [`Text::value`].
pub fn variable(name: &str, what: &'static str) -> Result<Option<Secret>, TextError> {
    Text::of_variable(name).map(|text| text?.value(what)).transpose()
}

/// All of standard input. `limit` is in bytes.
///
/// # Errors
/// It cannot be read, is longer, or is not UTF-8.
pub fn standard_input(limit: u64) -> Result<Text, TextError> {
    from_pipe(io::stdin().lock(), limit)
}

/// All of a pipe, named as standard input.
fn from_pipe(pipe: impl Read, limit: u64) -> Result<Text, TextError> {
    let bytes = bytes(&Origin::StandardInput, pipe, limit)?;
    Text::of(Origin::StandardInput, &bytes)
}

/// The next line of standard input without its end, as it is: the caller verifies what it is. `None` at the end of the input; `limit` is in
/// bytes.
///
/// # Errors
/// It cannot be read, is longer, or is not UTF-8.
pub fn next_line(input: &mut impl BufRead, limit: u64) -> Result<Option<Secret>, TextError> {
    let origin = Origin::StandardInput;
    let mut line = Zeroizing::new(Vec::new());
    input.take(limit.saturating_add(1)).read_until(b'\n', &mut line).map_err(|error| origin.unreadable(&error))?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.len() as u64 > limit {
        return Err(TextError::new(origin, Fault::TooLarge { limit }));
    }
    let text = Text::of(origin, &line)?;
    Ok(Some(Secret::from(text.reveal().strip_suffix('\n').unwrap_or(text.reveal()))))
}

fn bytes(origin: &Origin, source: impl Read, limit: u64) -> Result<Zeroizing<Vec<u8>>, TextError> {
    let mut bytes = Zeroizing::new(Vec::new());
    source.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| origin.unreadable(&error))?;
    if bytes.len() as u64 > limit {
        return Err(TextError::new(origin.clone(), Fault::TooLarge { limit }));
    }
    Ok(bytes)
}
