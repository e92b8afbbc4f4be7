//! Where the database is and how it is reached: a URL as libpq knows it, without a password in it.

use std::{fmt, time::Duration};

use oxpost_protocol::Secret;
use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

/// How long each address may take to answer, unless the URL says `connect_timeout`.
const ADDRESS_TIME: Duration = Duration::from_secs(4);

/// A server that has vanished is noticed within half a minute, also by a connection that is idle.
const IDLE_BEFORE_PROBE: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// Where the database is. It never prints the password.
#[derive(Clone)]
pub struct PostgresSettings {
    config: Config,
    server: String,
    tls: bool,
}

/// What is wrong with a URL, and what to write instead. It never quotes the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSettings(String);

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server)
    }
}

impl PostgresSettings {
    /// Reads `postgresql://user@host:port/database?sslmode=verify-full`. TLS is spoken with every server but one on this
    /// machine, and its certificate is verified whatever `sslmode` says, because tokens are worth it.
    pub fn parse(url: &str, password: Option<&Secret>) -> Result<Self, BadSettings> {
        let bad = |sentence: &str| BadSettings(sentence.to_owned());
        let rest = url.strip_prefix("postgresql://").or_else(|| url.strip_prefix("postgres://"));
        let rest = rest.ok_or_else(|| bad("it must be written like \"postgresql://oxpost@db.example.com/oxpost\"."))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = place.split('/').next().unwrap_or_default();
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        let named = |option: &&str, name: &str| option.split('=').next() == Some(name);
        let options: Vec<&str> = query.split('&').filter(|option| !option.is_empty()).collect();
        let in_the_url = || {
            bad("the password must not be in the URL; put it into a file and set postgres-password-file to its path.")
        };
        if user.contains(':') || options.iter().any(|option| named(option, "password")) {
            return Err(in_the_url());
        }
        let asked = options.iter().rev().find_map(|option| option.strip_prefix("sslmode="));
        let others: Vec<&str> = options.iter().copied().filter(|option| !named(option, "sslmode")).collect();
        let mut config: Config = format!("postgresql://{place}?{}", others.join("&"))
            .parse()
            .map_err(|error| BadSettings(format!("it is not a URL of a PostgreSQL database ({}).", in_full(&error))))?;
        // One with a slash or a question mark in it is not where it was looked for above.
        if config.get_password().is_some() {
            return Err(in_the_url());
        }
        if config.get_hosts().is_empty() {
            return Err(bad("it names no host; write it like \"postgresql://oxpost@db.example.com/oxpost\"."));
        }
        let tls = wants_tls(asked, &config)?;
        config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
        if let Some(password) = password {
            config.password(password.reveal());
        }
        config.application_name("oxpost").target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.keepalives_idle(IDLE_BEFORE_PROBE).keepalives_interval(PROBE_EVERY).keepalives_retries(PROBES);
        config.tcp_user_timeout(IDLE_BEFORE_PROBE + PROBE_EVERY * PROBES);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(ADDRESS_TIME);
        }
        Ok(Self { server: format!("postgresql://{place}"), config, tls })
    }

    /// The URL without its options, for people.
    pub fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn uses_tls(&self) -> bool {
        self.tls
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

fn wants_tls(asked: Option<&str>, config: &Config) -> Result<bool, BadSettings> {
    let bad = |sentence: String| BadSettings(sentence);
    let near =
        config.get_hosts().iter().all(is_on_this_machine) && config.get_hostaddrs().iter().all(|ip| ip.is_loopback());
    let on_sockets = config.get_hosts().iter().any(is_socket);
    match asked {
        None => Ok(!near),
        Some("disable") if near => Ok(false),
        Some(mode @ ("disable" | "allow" | "prefer")) => Err(bad(format!(
            "sslmode={mode} would send tokens and the password unencrypted; write sslmode=verify-full."
        ))),
        Some("require" | "verify-ca" | "verify-full") if on_sockets => {
            Err(bad("TLS is not spoken on a Unix socket; leave sslmode out.".into()))
        }
        Some("require" | "verify-ca" | "verify-full") => Ok(true),
        Some(other) => Err(bad(format!("sslmode={other} is unknown; write sslmode=verify-full."))),
    }
}

fn is_on_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

fn is_socket(host: &Host) -> bool {
    !matches!(host, Host::Tcp(_))
}

fn in_full(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<PostgresSettings, String> {
        PostgresSettings::parse(url, Some(&Secret::from("s3cret"))).map_err(|error| error.to_string())
    }

    #[test]
    fn tls_is_used_with_every_server_but_a_local_one() {
        for near in [
            "postgresql://a@localhost/b",
            "postgres://a@127.0.0.1:5433/b",
            "postgresql://a@[::1]/b",
            "postgresql://a@localhost/b?sslmode=disable",
        ] {
            assert!(!parse(near).unwrap().uses_tls(), "{near}");
        }
        for far in [
            "postgresql://a@db.example.com/b",
            "postgresql://a@db1,db2:5433/b?sslmode=require",
            "postgresql://a@10.0.0.1/b?sslmode=verify-full",
            "postgresql://a@localhost/b?sslmode=require",
        ] {
            assert!(parse(far).unwrap().uses_tls(), "{far}");
        }
        for clear in ["disable", "allow", "prefer"] {
            let error = parse(&format!("postgresql://a@db.example.com/b?sslmode={clear}")).unwrap_err();
            assert!(error.contains("unencrypted") && error.contains("verify-full"), "{error}");
        }
        assert!(parse("postgresql://a@localhost,db.example.com/b?sslmode=disable").is_err(), "one of them is far");
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_is_on_this_machine() {
        assert!(!parse("postgresql://a@%2Fvar%2Frun%2Fpostgresql/b").unwrap().uses_tls());
        assert!(parse("postgresql:///b?host=/var/run/postgresql&sslmode=require").unwrap_err().contains("socket"));
    }

    #[test]
    fn unusable_setting_is_named_and_no_password_is_shown() {
        for (url, words) in [
            ("mysql://a@b/c", "postgresql://oxpost@"),
            ("postgresql://a:s3cret@db.example.com/b", "postgres-password-file"),
            ("postgresql://a:s3cret/x@db.example.com/b", "postgres-password-file"),
            ("postgresql://a:x/s3cret@db.example.com/b", "postgres-password-file"),
            ("postgresql://a:s3cret?x@db.example.com/b", "postgres-password-file"),
            ("postgresql://a@db.example.com/b?password=s3cret", "postgres-password-file"),
            ("postgresql://a@db.example.com/b?sslmode=yes", "verify-full"),
            ("postgresql://a@db.example.com:port/b", "PostgreSQL"),
            ("postgresql:///b", "host"),
        ] {
            let error = parse(url).unwrap_err();
            assert!(error.contains(words) && !error.contains("s3cret"), "{url}: {error}");
        }
        let settings = parse("postgresql://ann@db.example.com:5433/mail?sslmode=verify-full").unwrap();
        assert_eq!(
            format!("{settings:?} {}", settings.server()),
            "postgresql://ann@db.example.com:5433/mail postgresql://ann@db.example.com:5433/mail"
        );
    }
}
