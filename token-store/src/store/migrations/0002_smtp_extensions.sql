-- Version 2. What each SMTP server offered after its last login, one extension a line, so that it is known before the next
-- login, after a restart and on every node.
CREATE TABLE smtp_extensions (
    host       TEXT NOT NULL,
    port       INTEGER NOT NULL,
    extensions TEXT NOT NULL,
    learned    INTEGER NOT NULL,
    PRIMARY KEY (host, port)
) STRICT;
