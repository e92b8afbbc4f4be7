-- Version 4. How each authority answers each application, for all nodes: while it does not, nothing is asked until its pause is
-- over, and then by one node at a time. Of a pause its beginning and its length (milliseconds) are kept, so that a wrong clock
-- cannot extend it. There is no row until a request has brought no answer.
CREATE TABLE authority_circuit (
    authority    TEXT NOT NULL,
    client_id    TEXT NOT NULL,
    version      INTEGER NOT NULL,
    failures     INTEGER NOT NULL,
    pauses       INTEGER NOT NULL,
    paused       INTEGER,
    pause        INTEGER,
    reason       TEXT NOT NULL,
    probe_node   TEXT,
    probed       INTEGER,
    recovered    INTEGER,
    PRIMARY KEY (authority, client_id)
) STRICT;
