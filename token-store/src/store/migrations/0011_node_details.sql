-- Version 11. What a node tells of itself: since when it is a node, when it last came back after its lease had ended (others may not know
-- yet what it sent meanwhile), and the send limits of its configuration, for people to compare.
ALTER TABLE node ADD COLUMN since INTEGER;
ALTER TABLE node ADD COLUMN regained INTEGER;
ALTER TABLE node ADD COLUMN send_limits TEXT;
