-- Version 9. The client secret that takes the place of the current one when the authority refuses that, sealed, and when it expires, if a
-- person has said it.
CREATE TABLE next_client_secret (
    application TEXT PRIMARY KEY,
    sealed      BLOB NOT NULL,
    expires     INTEGER
) STRICT;
