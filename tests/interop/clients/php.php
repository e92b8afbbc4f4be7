<?php
// PHP's imap extension (the c-client of the University of Washington), as a ticket system uses it.
//
// php.php FLAGS HOST PORT USER PASSWORD; FLAGS are those of imap_open: imap/notls, imap/ssl/novalidate-cert, pop3/notls, …
// The first message goes out by standard output. Exit status 67: the mailbox was refused, in the words on standard error.

if (!function_exists('imap_open')) {
    fwrite(STDERR, "PHP has no imap extension, and this test plays with it. Run: ./tests/install\n");
    exit(1);
}
[, $flags, $host, $port, $user, $password] = $argv;
imap_timeout(IMAP_OPENTIMEOUT, 60);
imap_timeout(IMAP_READTIMEOUT, 60);
// One attempt, and not three.
$server = @imap_open("{{$host}:{$port}/{$flags}}INBOX", $user, $password, 0, 1);
$said = imap_errors() ?: [];
if ($server === false) {
    fwrite(STDERR, implode("\n", $said) . "\n");
    exit(67);
}
echo imap_fetchheader($server, 1, FT_PREFETCHTEXT), imap_body($server, 1, FT_PEEK);
imap_close($server);
