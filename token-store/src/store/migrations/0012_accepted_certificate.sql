-- Version 12. Which of the two certificates of an application the authority accepted when it had refused the other one, by its thumbprint.
CREATE TABLE accepted_certificate (
    application TEXT PRIMARY KEY,
    thumbprint  TEXT NOT NULL
) STRICT;
