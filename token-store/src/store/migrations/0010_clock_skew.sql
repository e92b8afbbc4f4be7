-- Version 10. Which machine's clock differs, by how many milliseconds (negative: it is behind), from that of the database or of a sign-in
-- service, as its service has measured it, for people. There is a row for a clock that is wrong alone; it is renewed, and counts for an
-- hour by the database's clock.
CREATE TABLE clock_skew (
    host     TEXT NOT NULL,
    peer     TEXT NOT NULL,
    ahead_by INTEGER NOT NULL,
    noted    INTEGER NOT NULL,
    PRIMARY KEY (host, peer)
) STRICT;
