-- Version 7. The nodes that run. A row is the lease of a process on its part in what nodes share: it ends by the database's clock unless
-- it is renewed, and whoever finds it ended removes it. A process that finds its row removed begins with another id, so an id that is gone
-- never comes back.
CREATE TABLE node (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT;

-- What nodes share about the sending limits of one mailbox at one server: send slots, message permits, the recipients of a day, as JSON.
-- It is written over the version it was decided from. `waiting` is how much nodes wait for; after `ends` the row says nothing any more.
CREATE TABLE send_limit (
    server  TEXT NOT NULL,
    mailbox TEXT NOT NULL,
    version INTEGER NOT NULL,
    state   TEXT NOT NULL,
    waiting INTEGER NOT NULL,
    ends    INTEGER NOT NULL,
    PRIMARY KEY (server, mailbox)
) STRICT;
CREATE INDEX send_limit_ends ON send_limit (ends);
