use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::Config;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate that expires then, with its key, as one PEM text.
fn pair(expires: SystemTime) -> String {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let mut parameters = rcgen::CertificateParams::new(["app".to_owned()]).unwrap();
    (parameters.not_before, parameters.not_after) = ((expires - 30 * DAY).into(), expires.into());
    format!("{}{}", parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Each write has its own time, however fast the test runs.
fn write(path: &Path, text: &str, time: u64) {
    std::fs::write(path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + time);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// The certificates of an application whose keys these are.
fn watched(folder: &Path, keys: &str) -> Vec<WatchedCertificate> {
    let text = format!("[[application]]\nname = \"a\"\ntenant = \"t\"\nclient-id = \"c\"\n{keys}\n");
    std::fs::write(folder.join("proxy.toml"), text).unwrap();
    let config = Config::load(&folder.join("proxy.toml")).unwrap();
    let watch = |(name, files): &(String, CertificateFiles)| {
        WatchedCertificate::new(&config.applications, name, files).unwrap()
    };
    config.certificate_files.iter().map(watch).collect()
}

#[test]
fn certificate_is_replaced_only_by_one_that_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let (path, now) = (folder.path().join("app.pem"), SystemTime::now());
    let (old, new) = (pair(now + DAY), pair(now + 20 * DAY));
    write(&path, &old, 0);
    let watched = watched(folder.path(), "certificate = \"app.pem\"").pop().unwrap();
    let thumbprint = || watched.certificate.in_use().thumbprint().to_owned();
    let before = thumbprint();
    assert!(!watched.reload_if_changed(now), "it is the same one");

    let unusable = ["", "garbage", new.split_at(new.len() / 2).0, &pair(now - DAY), &pair(now + 60 * DAY)];
    for (time, text) in unusable.into_iter().enumerate() {
        write(&path, text, 1 + time as u64);
        assert!(!watched.reload_if_changed(now));
        assert_eq!(thumbprint(), before);
    }
    std::fs::remove_file(&path).unwrap();
    assert!(!watched.reload_if_changed(now));
    write(&path, &new, 10);
    assert!(watched.reload_if_changed(now));
    assert_ne!(thumbprint(), before);
    assert!(!watched.reload_if_changed(now));
}

/// The files of a pair are not written at the same moment.
#[test]
fn certificate_waits_for_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key, now) = (folder.path().join("crt"), folder.path().join("key"), SystemTime::now());
    let (old, new) = (pair(now + DAY), pair(now + 20 * DAY));
    write(&certificate, &old, 0);
    write(&key, &old, 0);
    let watched = watched(folder.path(), "certificate = \"crt\"\nprivate-key = \"key\"").pop().unwrap();
    write(&certificate, &new, 1);
    assert!(!watched.reload_if_changed(now));
    write(&key, &new, 2);
    assert!(watched.reload_if_changed(now));
}

#[test]
fn next_certificate_is_replaced_on_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (current, next, now) = (folder.path().join("one"), folder.path().join("two"), SystemTime::now());
    write(&current, &pair(now + DAY), 0);
    write(&next, &pair(now + 2 * DAY), 0);
    let watched = watched(folder.path(), "certificate = \"one\"\nnext-certificate = \"two\"");
    let certificate = &watched[1].certificate;
    let before = (certificate.current(), certificate.next());
    write(&next, &pair(now + 20 * DAY), 1);
    assert!(!watched[0].reload_if_changed(now) && watched[1].reload_if_changed(now));
    assert_eq!(certificate.current(), before.0);
    assert_ne!(certificate.next(), before.1);
}
