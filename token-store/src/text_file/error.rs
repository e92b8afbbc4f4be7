//! What is wrong with a text, and what to do: never a part of the text.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::platform::{self, ByteOrder, Encoding};

/// Where a text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A file.
    File(PathBuf),
    /// A pipe, or a file that the shell has opened.
    StandardInput,
    /// An environment variable, by name.
    Variable(String),
}

impl Origin {
    pub(super) fn unreadable(&self, error: &io::Error) -> TextError {
        TextError::new(
            self.clone(),
            Fault::Unreadable { why: error.to_string(), is_missing: error.kind() == io::ErrorKind::NotFound },
        )
    }

    fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::StandardInput | Self::Variable(_) => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::StandardInput => f.write_str("standard input"),
            Self::Variable(name) => write!(f, "the environment variable `{name}`"),
        }
    }
}

/// A text that cannot be used. It prints a sentence without its period: where, what was found, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    origin: Origin,
    fault: Fault,
    /// What the text should hold.
    what: &'static str,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The system does not give it.
    Unreadable { why: String, is_missing: bool },
    /// It has more bytes.
    TooLarge { limit: u64 },
    /// It is in the encoding of Windows PowerShell.
    Utf16 { order: ByteOrder },
    /// It is in an encoding of one byte for each character.
    NotUtf8 { line: usize },
    /// It has NUL in it.
    Binary { line: usize },
    /// There is nothing in it, or white space only.
    Empty,
    /// It has more than one line.
    SeveralLines { lines: usize },
    /// There is white space around it.
    Spaced(Side),
    /// There are quotes around it.
    Quoted { open: char, close: char },
    /// It has a character in it that no one sees.
    Invisible(char),
    /// It is no PEM text, or holds something else.
    Pem(PemFault),
}

/// On which side of a value white space is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
    Both,
}

/// What is found where a certificate or a key is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PemFault {
    /// No line that begins with -----BEGIN.
    NoPem,
    /// Line ends are written as `\n`, as in JSON.
    EscapedLineEnds,
    /// A certificate or key in binary form.
    Der,
    /// A PFX file (PKCS#12).
    Pfx,
    /// A private key where a certificate is expected.
    KeyForCertificate,
    /// A certificate where a private key is expected.
    CertificateForKey,
    /// A private key that a passphrase protects.
    EncryptedKey,
    /// A certificate signing request.
    Request,
    /// A public key.
    PublicKey,
    /// A key of OpenSSH.
    OpenSsh,
    /// A list of certificates of PKCS#7.
    Pkcs7,
    /// A section that is damaged.
    Damaged,
    /// PEM sections of other kinds.
    Other,
}

impl TextError {
    pub(super) fn new(origin: Origin, fault: Fault) -> Self {
        Self { origin, fault, what: "the text" }
    }

    /// The same, with the phrase for what the text should hold, such as "the client secret's Value".
    #[must_use]
    pub fn about(self, what: &'static str) -> Self {
        Self { what, ..self }
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        self.origin.file()
    }

    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self.fault, Fault::Unreadable { is_missing: true, .. })
    }

    /// Whether the system does not give it.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self.fault, Fault::Unreadable { .. })
    }

    /// Whether the whole value is there, in a shape that can be changed without losing it.
    pub(crate) fn is_shape(&self) -> bool {
        matches!(self.fault, Fault::Utf16 { .. } | Fault::Quoted { .. } | Fault::Spaced(_) | Fault::Invisible(_))
    }

    /// The line, counted from 1, where that is known.
    pub fn line(&self) -> Option<usize> {
        match self.fault {
            Fault::NotUtf8 { line } | Fault::Binary { line } => Some(line),
            _ => None,
        }
    }

    fn convert(&self, f: &mut fmt::Formatter<'_>, encoding: Encoding) -> fmt::Result {
        match &self.origin {
            Origin::File(path) => write!(
                f,
                "save it as UTF-8 (in an editor: Save as, encoding UTF-8), or run `{}`",
                platform::convert_command(path, encoding)
            ),
            Origin::StandardInput => f.write_str(
                "type the value at the prompt in place of the pipe, or let PowerShell send UTF-8: \
                 `$OutputEncoding = [Text.UTF8Encoding]::new($false)`",
            ),
            Origin::Variable(_) => f.write_str("set it again where Oxpost is started"),
        }
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, fault, what } = self;
        match fault {
            Fault::Unreadable { why, .. } => {
                write!(f, "{origin} cannot be read: {why}; check the path and the permissions")
            }
            Fault::TooLarge { limit } => {
                let limit = size(*limit);
                write!(f, "{origin} is too large (more than {limit}); it must contain {what} and nothing else")
            }
            Fault::Utf16 { order } => {
                write!(f, "{origin} is UTF-16, as `>` and `Out-File` of Windows PowerShell write it; ")?;
                self.convert(f, Encoding::Utf16(*order))
            }
            Fault::NotUtf8 { line } => {
                write!(f, "{origin} is not UTF-8 in line {line}, probably Windows-1252 (ANSI); ")?;
                self.convert(f, Encoding::Windows1252)
            }
            Fault::Binary { line } => {
                write!(f, "{origin} is no text: there is a NUL byte in line {line}; check that this is the right file")
            }
            Fault::Empty => match origin {
                Origin::File(_) => write!(f, "{origin} is empty; write {what} into it"),
                Origin::StandardInput => {
                    write!(f, "{origin} is empty; pipe {what} into this command, or type it at the prompt")
                }
                Origin::Variable(_) => write!(f, "{origin} is empty; set it to {what} where Oxpost is started"),
            },
            Fault::SeveralLines { lines } => {
                write!(
                    f,
                    "{origin} has {lines} lines, and must contain {what} as its only line; remove the others, also empty ones"
                )
            }
            Fault::Spaced(side) => {
                let side = match side {
                    Side::Before => "before",
                    Side::After => "after",
                    Side::Both => "before and after",
                };
                write!(
                    f,
                    "{origin} has white space {side} {what}, as `echo VALUE > FILE` of cmd.exe writes it; remove it"
                )
            }
            Fault::Quoted { open, close } => {
                write!(f, "{origin} has quotes around {what} ({open}…{close}), which would be part of it; remove them")
            }
            Fault::Invisible(character) => write!(
                f,
                "{origin} has an invisible character in it (U+{:04X}), as copying from a page or a document adds; type {what} again, or \
                 copy it with the button of the page",
                u32::from(*character)
            ),
            Fault::Pem(fault) => self.pem(f, *fault),
        }
    }
}

impl TextError {
    fn pem(&self, f: &mut fmt::Formatter<'_>, fault: PemFault) -> fmt::Result {
        let Self { origin, what, .. } = self;
        let file = self.origin.file().map(platform::quoted_path).unwrap_or_default();
        match fault {
            PemFault::NoPem => {
                write!(f, "{origin} holds no {what}: it must be a PEM file, with a line that begins with -----BEGIN")
            }
            PemFault::EscapedLineEnds => {
                write!(
                    f,
                    "{origin} has its line ends written as \\n, as in JSON; write each line of the PEM text as a line of its own"
                )
            }
            PemFault::Der => write!(
                f,
                "{origin} is a {what} in binary form (DER), and must be PEM; convert it: `openssl {} -inform der -in {file} -out \
                 {}`",
                if what == &CERTIFICATE { "x509" } else { "pkey" },
                self.beside("pem"),
            ),
            PemFault::Pfx => write!(
                f,
                "{origin} is a PFX file (PKCS#12), and must be PEM; convert it: `openssl pkcs12 -in {file} -nodes -out {}`",
                self.beside("pem"),
            ),
            PemFault::KeyForCertificate => write!(
                f,
                "{origin} holds no certificate, but a private key; name the file of the certificate here, and this one as `private-key`"
            ),
            PemFault::CertificateForKey => write!(
                f,
                "{origin} holds no private key, but a certificate; name the file of its private key here, and this one as `certificate`"
            ),
            PemFault::EncryptedKey => write!(
                f,
                "the private key in {origin} is encrypted with a passphrase; write it without one into a file that only the service may \
                 read: `openssl pkey -in {file} -out {}`",
                self.beside("plain.key"),
            ),
            PemFault::Request => write!(
                f,
                "{origin} holds no {what}, but a certificate signing request; name the file that the certificate authority returned for it"
            ),
            PemFault::PublicKey => write!(f, "{origin} holds no {what}, but a public key; name the file of the {what}"),
            PemFault::OpenSsh => {
                write!(f, "{origin} holds a key of OpenSSH, which TLS does not use; name the file of the {what}")
            }
            PemFault::Pkcs7 => write!(
                f,
                "{origin} is a list of certificates (PKCS#7); convert it: `openssl pkcs7 -in {file} -print_certs -out {}`",
                self.beside("pem"),
            ),
            PemFault::Damaged => write!(
                f,
                "{origin} holds a damaged {what}: what is between -----BEGIN and -----END is no base64; copy the file again"
            ),
            PemFault::Other => write!(f, "{origin} holds no {what}; name the file of the {what}"),
        }
    }

    /// A new file next to this one, for a command.
    fn beside(&self, extension: &str) -> String {
        self.origin.file().map(|path| platform::quoted_path(&path.with_extension(extension))).unwrap_or_default()
    }
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    match bytes {
        _ if bytes >= MIB && bytes.is_multiple_of(MIB) => format!("{} MiB", bytes / MIB),
        _ if bytes >= KIB && bytes.is_multiple_of(KIB) => format!("{} KiB", bytes / KIB),
        _ => format!("{bytes} bytes"),
    }
}

impl std::error::Error for TextError {}

/// What a PEM file holds, in errors.
pub(super) const CERTIFICATE: &str = "certificate";

/// The same of a key.
pub(super) const PRIVATE_KEY: &str = "private key";
