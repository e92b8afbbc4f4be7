-- Version 3. From where logins to an account have succeeded, so that guesses from elsewhere cannot keep its users out. The
-- source is sealed; `place` only tells the rows of an account apart.
CREATE TABLE familiar_source (
    mailbox TEXT NOT NULL REFERENCES account (mailbox) ON DELETE CASCADE,
    place   INTEGER NOT NULL,
    source  BLOB NOT NULL,
    seen    INTEGER NOT NULL,
    PRIMARY KEY (mailbox, place)
) STRICT;

-- Passwords that Microsoft was asked about within the last hour and that may have been wrong, by all nodes together. The tag is
-- 16 bits of a keyed hash.
CREATE TABLE remote_attempt (
    mailbox  TEXT NOT NULL REFERENCES account (mailbox) ON DELETE CASCADE,
    familiar INTEGER NOT NULL,
    tag      INTEGER NOT NULL,
    asked    INTEGER NOT NULL,
    PRIMARY KEY (mailbox, familiar, tag)
) STRICT;
