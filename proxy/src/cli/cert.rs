//! `oxpost cert`: a certificate for the listeners, and the private certificate authority that issues it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use oxpost_token_store::text_file::TextFile;
use rustls::pki_types::ServerName;

use super::Failed;
use crate::admin::certificates::{Authority, Pair};
use crate::config::{Config, StorePlace};
use crate::net::certificate::CertificateInfo;
use crate::net::tls;
use crate::platform;

/// Longest certificate or key file read, in bytes.
const FILE_LIMIT: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// A further name or address that mail programs connect to; may be repeated
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// The folder of the files [default: certs, next to proxy.toml]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub(super) fn cert(options: &Options, config: &Config, file: &Path) -> Result<(), Failed> {
    let beside = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = options.folder.clone().unwrap_or_else(|| beside.join("certs"));
    // The service must be able to read what an administrator makes.
    let owner = match (&config.store, config.key.file()) {
        (StorePlace::File(store), _) if store.exists() => store,
        (StorePlace::Postgres(_), Some(key)) if key.exists() => key,
        _ => beside,
    };
    let owner = owner.to_owned();
    let files = Files { folder, owner };
    let now = SystemTime::now();
    let (authority, before) = files.authority(&config.host_name, now)?;
    let old = files.old_authority()?;
    let there = files.read("oxpost.crt")?;
    let info = match &there {
        Some(text) => {
            let authorities = [Some(&authority), before.as_ref(), old.as_ref()];
            Some(ours(text, &authorities, &files.path("oxpost.crt"))?)
        }
        None if files.path("oxpost.key").exists() => {
            return Err(files.left_alone("oxpost.key", "its certificate, oxpost.crt, is missing"));
        }
        None => None,
    };
    let names = names(config, info.as_ref(), &options.names);
    let good = info.as_ref().filter(|info| {
        !info.expires_soon(now)
            && info.covers(&names)
            && there.as_deref().is_some_and(|text| authority.has_issued(text.as_bytes()))
            && tls::certified_key(&files.path("oxpost.crt"), &files.path("oxpost.key")).is_ok()
    });
    match good {
        Some(info) => println!(
            "{} is valid until {}, for {}. Nothing to do.",
            files.path("oxpost.crt").display(),
            info.expiry_date(),
            info.names.join(", ")
        ),
        None => {
            // What cannot be issued leaves everything as it is.
            let pair = authority.issue(&names, now)?;
            files.may_replace("oxpost.key", config.key.file())?;
            if before.is_some() || files.read("oxpost-ca.crt")?.is_none() {
                files.begin_authority(&authority, before.as_ref())?;
            }
            files.write(&pair, "oxpost", Some(&files.owner))?;
            let made =
                CertificateInfo::of_pem(pair.certificate.as_bytes()).map(|info| info.expiry_date()).unwrap_or_default();
            println!(
                "{} {}, for {}, valid until {made}.",
                if there.is_some() { "Renewed" } else { "Created" },
                files.path("oxpost.crt").display(),
                names.join(", ")
            );
            if there.is_some() {
                println!("A running service loads it within seconds; open sessions continue.");
            }
        }
    }
    print!("{}", what_next(&authority, &files));
    Ok(())
}

/// What a certificate says that one of these authorities has issued.
fn ours(text: &str, authorities: &[Option<&Authority>], path: &Path) -> Result<CertificateInfo, Failed> {
    let issued = authorities.iter().flatten().any(|authority| authority.has_issued(text.as_bytes()));
    CertificateInfo::of_pem(text.as_bytes()).filter(|_| issued).ok_or_else(|| {
        let issuer = CertificateInfo::of_pem(text.as_bytes()).map_or_else(|| "it cannot be read".to_owned(), |info| info.issuer);
        Failed::new(format!(
            "{} was not created by this command ({issuer}) and was not changed. To create another certificate, name another --folder.",
            path.display()
        ))
    })
}

/// The names and addresses in use: this machine's, those that listeners are bound to, those of the certificate before, and
/// those that were asked for.
fn names(config: &Config, info: Option<&CertificateInfo>, asked: &[String]) -> Vec<String> {
    let bound = config.listeners.iter().map(|listener| listener.address.ip());
    let addresses = bound.chain(own_addresses()).filter(|address| !address.is_unspecified());
    let own = [config.host_name.clone(), "localhost".to_owned()];
    let all = own
        .into_iter()
        // What a machine is called is not always a name that a certificate may carry.
        .filter(|name| ServerName::try_from(name.as_str()).is_ok())
        .chain([Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()])
        .chain(addresses.map(|address| address.to_canonical().to_string()))
        .chain(info.into_iter().flat_map(|info| info.names.clone()))
        .chain(asked.iter().map(|name| name.trim().to_owned()));
    let mut names: Vec<String> = Vec::new();
    for name in all {
        if !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            names.push(name);
        }
    }
    names
}

/// The addresses that this machine uses towards others. Connecting a UDP socket sends nothing: it looks up the route.
fn own_addresses() -> impl Iterator<Item = IpAddr> {
    let towards = |from: IpAddr, to: &str| -> Option<IpAddr> {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect(to).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    // Addresses reserved for documentation (RFC 5737, RFC 3849).
    let v4 = towards(Ipv4Addr::UNSPECIFIED.into(), "192.0.2.1:9");
    let v6 = towards(Ipv6Addr::UNSPECIFIED.into(), "[2001:db8::1]:9");
    v4.into_iter().chain(v6).filter(|address| !address.is_loopback())
}

/// What the files of the authority before the present one are called.
const OLD: &str = "oxpost-ca-before";

/// The files, and whose they are to be.
struct Files {
    folder: PathBuf,
    owner: PathBuf,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn read(&self, name: &str) -> Result<Option<String>, Failed> {
        let path = self.path(name);
        match TextFile::open(&path).and_then(|file| file.text(FILE_LIMIT)) {
            Ok(text) => Ok(Some(text.reveal().to_owned())),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(Failed::new(format!("{error}."))),
        }
    }

    /// The authority that the last change of authorities left behind, so that what it has issued is known as ours.
    fn old_authority(&self) -> Result<Option<Authority>, Failed> {
        let (Some(certificate), Some(key)) = (self.read(&format!("{OLD}.crt"))?, self.read(&format!("{OLD}.key"))?)
        else {
            return Ok(None);
        };
        Ok(Authority::of(Pair { certificate, key }).ok())
    }

    /// Whether a file may be replaced by a key of ours: it is one already, or there is none.
    fn may_replace(&self, name: &str, key_of_the_store: Option<&Path>) -> Result<(), Failed> {
        let path = self.path(name);
        let same = |other: &Path| match (path.canonicalize(), other.canonicalize()) {
            (Ok(path), Ok(other)) => path == other,
            _ => path == other,
        };
        if key_of_the_store.is_some_and(same) {
            return Err(Failed::new(format!(
                "{} is the key of the store and was not changed. Name another --folder for the certificate.",
                path.display()
            )));
        }
        match self.read(name)? {
            Some(text) if !text.contains("PRIVATE KEY-----") => {
                Err(self.left_alone(name, "it is not the key of a certificate"))
            }
            _ => Ok(()),
        }
    }

    /// Writes a new authority; the previous one stays next to it. They belong to the user who runs this: the service needs neither,
    /// and their keys can impersonate any server.
    fn begin_authority(&self, new: &Authority, before: Option<&Authority>) -> Result<(), Failed> {
        if let Some(before) = before {
            self.write(before.pair(), OLD, None)?;
        }
        self.write(new.pair(), "oxpost-ca", None)?;
        let path = self.path("oxpost-ca.crt");
        println!("Created {}, the certificate authority, valid until {}.", path.display(), new.info().expiry_date());
        if before.is_some() {
            println!("The old one expires: every machine must trust the new one.");
        }
        Ok(())
    }

    /// The authority: the one that is there, or a new one, not written yet. If that one ends soon, also the one before it.
    fn authority(&self, site: &str, now: SystemTime) -> Result<(Authority, Option<Authority>), Failed> {
        let before = match (self.read("oxpost-ca.crt")?, self.read("oxpost-ca.key")?) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(
                Authority::of(Pair { certificate, key })
                    .map_err(|error| self.left_alone("oxpost-ca.crt", &error.to_string()))?,
            ),
            (Some(_), None) => return Err(self.left_alone("oxpost-ca.crt", "its key, oxpost-ca.key, is missing")),
            (None, Some(_)) => {
                return Err(self.left_alone("oxpost-ca.key", "its certificate, oxpost-ca.crt, is missing"));
            }
        };
        match before {
            Some(before) if !before.info().expires_soon(now) => Ok((before, None)),
            Some(before) if !before.info().issuer.contains("Oxpost at ") => {
                Err(self.left_alone("oxpost-ca.crt", "it expires soon, and was not created by this command"))
            }
            before => {
                let new = Authority::make(site, now)?;
                Ok((new, before))
            }
        }
    }

    fn left_alone(&self, name: &str, why: &str) -> Failed {
        Failed::new(format!(
            "{} was not changed: {why}. Fix it, or move oxpost-ca.* and oxpost.* away to start over.",
            self.path(name).display()
        ))
    }

    /// Writes key and certificate, each atomically, the key first: a reader between the two writes sees that they do not match.
    fn write(&self, pair: &Pair, name: &str, owner: Option<&Path>) -> Result<(), Failed> {
        let failed = |path: &Path, error: std::io::Error| {
            Failed::new(format!("cannot write {}: {error}. Check the permissions of its folder.", path.display()))
        };
        if !self.folder.exists() {
            std::fs::create_dir_all(&self.folder).map_err(|error| failed(&self.folder, error))?;
            platform::give_folder_to_owner_of(&self.owner, &self.folder)
                .map_err(|error| failed(&self.folder, error))?;
        }
        for (ending, text, private) in [("key", &pair.key, true), ("crt", &pair.certificate, false)] {
            let path = self.path(&format!("{name}.{ending}"));
            platform::replace_file(&path, text.as_bytes(), private, owner).map_err(|error| failed(&path, error))?;
        }
        Ok(())
    }
}

/// The next steps for the administrator.
fn what_next(authority: &Authority, files: &Files) -> String {
    let ca = files.path("oxpost-ca.crt");
    format!(
        "\nAdd it to each [[listener]] with TLS in proxy.toml:\n\n  \
         tls = \"start-tls\"            # or \"implicit\"\n  \
         certificate = '{certificate}'\n  \
         private-key = '{key}'\n\n\
         Make every machine whose mail programs connect trust {ca}, and compare its SHA-256\n\
         fingerprint there. Do not copy the .key files.\n\n  \
         {fingerprint}\n\n  \
         Windows, as administrator   certutil -addstore -f Root oxpost-ca.crt\n  \
         Windows, by group policy    Computer Configuration > Policies > Windows Settings > Security Settings >\n                              \
         Public Key Policies > Trusted Root Certification Authorities\n  \
         Debian, Ubuntu              cp oxpost-ca.crt /usr/local/share/ca-certificates/ && update-ca-certificates\n  \
         Fedora, RHEL                cp oxpost-ca.crt /etc/pki/ca-trust/source/anchors/ && update-ca-trust\n  \
         macOS                       sudo security add-trusted-cert -d -r trustRoot \\\n                                \
         -k /Library/Keychains/System.keychain oxpost-ca.crt\n  \
         Thunderbird                 Settings > Privacy & Security > Certificates > Authorities > Import\n  \
         Java                        keytool -importcert -cacerts -alias oxpost -file oxpost-ca.crt\n",
        certificate = files.path("oxpost.crt").display(),
        key = files.path("oxpost.key").display(),
        ca = ca.display(),
        fingerprint = authority.fingerprint(),
    )
}
