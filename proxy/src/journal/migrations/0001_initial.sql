-- What happened to messages. Rows are only added, and the oldest removed.
CREATE TABLE event (
    -- The order in which rows were added.
    seq     INTEGER PRIMARY KEY,
    -- The message's own id; one of its own for an event that belongs to no message.
    id      TEXT NOT NULL,
    -- The number of the event among those of this id.
    step    INTEGER NOT NULL,
    -- When it happened.
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    -- The account, or the empty text.
    account TEXT NOT NULL,
    -- The name of the machine.
    node    TEXT NOT NULL,
    -- What the row costs, roughly.
    bytes   INTEGER NOT NULL,
    -- Everything else, as JSON.
    detail  TEXT NOT NULL,
    UNIQUE (id, step)
) STRICT;

CREATE INDEX event_by_time ON event (at, seq);
