-- Version 1. Times are milliseconds since 1970, in UTC. What is sealed is a BLOB.

-- Facts about the store itself: the check value that tells a wrong key from a right one.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

-- An account has an application and a grant of its own, or goes through another one that has. Its origin is `command`, `declared`
-- (in proxy.toml), or `withdrawn` (declared there once, and not any more: kept with its tokens, and used by nobody). Who it may send as is JSON,
-- where it is not what it is by default.
CREATE TABLE account (
    mailbox     TEXT PRIMARY KEY,
    through     TEXT REFERENCES account (mailbox),
    application TEXT,
    grant_kind  TEXT,
    login       TEXT NOT NULL UNIQUE,
    senders     TEXT,
    origin      TEXT NOT NULL,
    created     INTEGER NOT NULL
) STRICT;

-- Hashes, and sealed: whoever has the store alone cannot even begin to guess.
CREATE TABLE local_password (
    mailbox   TEXT NOT NULL REFERENCES account (mailbox) ON DELETE CASCADE,
    name      TEXT NOT NULL,
    hash      BLOB NOT NULL,
    declared  INTEGER NOT NULL,
    created   INTEGER NOT NULL,
    last_used INTEGER,
    PRIMARY KEY (mailbox, name)
) STRICT;

-- The password that Microsoft has last judged right, of accounts whose passwords it judges: a hash, and sealed.
CREATE TABLE judged_password (
    mailbox   TEXT PRIMARY KEY REFERENCES account (mailbox) ON DELETE CASCADE,
    hash      BLOB NOT NULL,
    judged    INTEGER NOT NULL,
    last_used INTEGER
) STRICT;

CREATE TABLE client_secret (
    application TEXT PRIMARY KEY,
    sealed      BLOB NOT NULL
) STRICT;

-- The day a client secret ends, where proxy.toml does not say it: Microsoft alone knows, and tells nobody.
CREATE TABLE secret_end (
    application TEXT PRIMARY KEY,
    expires     INTEGER NOT NULL
) STRICT;

-- One row for each account that goes through no other, from the moment the account is added. Whoever writes tokens raises the
-- version, and writes only over the version it has read. Who asks the authority for tokens holds the lease meanwhile, by the
-- database's clock.
CREATE TABLE token (
    mailbox       TEXT PRIMARY KEY REFERENCES account (mailbox) ON DELETE CASCADE,
    version       INTEGER NOT NULL,
    signed_in_as  TEXT,
    access_token  BLOB,
    issued_at     INTEGER,
    expires_at    INTEGER,
    refresh_token BLOB,
    next_refresh  INTEGER,
    error_kind    TEXT,
    error_text    TEXT,
    error_what    TEXT,
    error_remedy  TEXT,
    error_code    INTEGER,
    error_since   INTEGER,
    error_at      INTEGER,
    lease_owner   TEXT,
    lease_until   INTEGER
) STRICT;

-- What the mail server of a protocol last refused although the token was good, until a login succeeds.
CREATE TABLE refusal (
    mailbox  TEXT NOT NULL REFERENCES account (mailbox) ON DELETE CASCADE,
    protocol TEXT NOT NULL,
    what     TEXT NOT NULL,
    said     TEXT NOT NULL,
    noted    INTEGER NOT NULL,
    PRIMARY KEY (mailbox, protocol)
) STRICT;

-- Addresses from which no login is taken for a while, as each node has decided, for people to see and to lift.
CREATE TABLE ban (
    source TEXT NOT NULL,
    node   TEXT NOT NULL,
    since  INTEGER NOT NULL,
    ends   INTEGER NOT NULL,
    PRIMARY KEY (source, node)
) STRICT;

-- What a person must act on, and when they were told. The subject is a mailbox or an application; a notice stays until
-- they were told that it is solved.
CREATE TABLE notice (
    subject TEXT NOT NULL,
    topic   TEXT NOT NULL,
    id      TEXT NOT NULL,
    event   TEXT NOT NULL,
    cause   TEXT NOT NULL,
    what    TEXT NOT NULL,
    remedy  TEXT NOT NULL,
    since   INTEGER NOT NULL,
    told    INTEGER,
    due     INTEGER,
    solved  INTEGER,
    PRIMARY KEY (subject, topic)
) STRICT;

-- The UIDVALIDITY of each folder that was opened, and when it was last another one than before. The account is that of the
-- mailbox, or of its whole domain.
CREATE TABLE folder (
    mailbox      TEXT NOT NULL,
    account      TEXT NOT NULL REFERENCES account (mailbox) ON DELETE CASCADE,
    folder       TEXT NOT NULL,
    uid_validity INTEGER NOT NULL,
    recreated    INTEGER,
    PRIMARY KEY (mailbox, folder)
) STRICT;

-- What went through for each mailbox by each protocol, and whether the mail server throttles it.
CREATE TABLE mail_use (
    mailbox         TEXT NOT NULL,
    account         TEXT NOT NULL REFERENCES account (mailbox) ON DELETE CASCADE,
    protocol        TEXT NOT NULL,
    sessions        INTEGER NOT NULL,
    fetched         INTEGER NOT NULL,
    stored          INTEGER NOT NULL,
    last_end        TEXT,
    last_end_at     INTEGER,
    throttled_at    INTEGER,
    throttled_until INTEGER,
    PRIMARY KEY (mailbox, protocol)
) STRICT;
