"""imaplib, poplib and smtplib, as a script of an administrator uses them.

python.py imap|imap-plain|pop3|smtp HOST PORT USER PASSWORD; a message goes through standard input and output.
Exit status 67: the login was refused, in the words on standard error.
"""

import imaplib
import poplib
import smtplib
import sys

PATIENCE = 60
REFUSED = 67


def main():
    what, host, port, user, password = sys.argv[1:]
    try:
        {"imap": imap, "imap-plain": imap_plain, "pop3": pop3, "smtp": smtp}[what](host, int(port), user, password)
    except (imaplib.IMAP4.error, poplib.error_proto, smtplib.SMTPAuthenticationError) as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(REFUSED)


def imap(host, port, user, password):
    with imaplib.IMAP4(host, port, timeout=PATIENCE) as server:
        server.login(user, password)
        fetch(server)


def imap_plain(host, port, user, password):
    with imaplib.IMAP4(host, port, timeout=PATIENCE) as server:
        server.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
        fetch(server)


def fetch(server):
    server.select("INBOX")
    _, answer = server.fetch("1", "(BODY.PEEK[])")
    sys.stdout.buffer.write(answer[0][1])


def pop3(host, port, user, password):
    server = poplib.POP3(host, port, timeout=PATIENCE)
    server.user(user)
    server.pass_(password)
    _, lines, _ = server.retr(1)
    sys.stdout.buffer.write(b"".join(line + b"\r\n" for line in lines))
    server.quit()


def smtp(host, port, user, password):
    with smtplib.SMTP(host, port, timeout=PATIENCE) as server:
        server.login(user, password)
        server.sendmail(user, [user], sys.stdin.buffer.read())


main()
