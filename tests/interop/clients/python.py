"""imaplib, poplib and smtplib, as a script of an administrator uses them.

python.py imap|imap-plain|pop3|smtp plain|StartTls|Implicit HOST PORT USER PASSWORD; a message goes through standard input and
output. Exit status 67: the login was refused, in the words on standard error.
"""

import imaplib
import poplib
import smtplib
import ssl
import sys

PATIENCE = 60
REFUSED = 67


def main():
    what, tls, host, port, user, password = sys.argv[1:]
    do = {"imap": imap, "imap-plain": imap_plain, "pop3": pop3, "smtp": smtp}[what]
    try:
        do(tls, host, int(port), user, password)
    except (imaplib.IMAP4.error, poplib.error_proto, smtplib.SMTPAuthenticationError) as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(REFUSED)


def checked():
    return ssl.create_default_context(cafile="listener-ca.pem")


def connected_imap(tls, host, port):
    if tls == "Implicit":
        return imaplib.IMAP4_SSL(host, port, ssl_context=checked(), timeout=PATIENCE)
    server = imaplib.IMAP4(host, port, timeout=PATIENCE)
    if tls == "StartTls":
        server.starttls(checked())
    return server


def imap(tls, host, port, user, password):
    with connected_imap(tls, host, port) as server:
        server.login(user, password)
        fetch(server)


def imap_plain(tls, host, port, user, password):
    with connected_imap(tls, host, port) as server:
        server.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
        fetch(server)


def fetch(server):
    server.select("INBOX")
    _, answer = server.fetch("1", "(BODY.PEEK[])")
    sys.stdout.buffer.write(answer[0][1])


def pop3(tls, host, port, user, password):
    if tls == "Implicit":
        server = poplib.POP3_SSL(host, port, context=checked(), timeout=PATIENCE)
    else:
        server = poplib.POP3(host, port, timeout=PATIENCE)
    if tls == "StartTls":
        server.stls(checked())
    server.user(user)
    server.pass_(password)
    _, lines, _ = server.retr(1)
    sys.stdout.buffer.write(b"".join(line + b"\r\n" for line in lines))
    server.quit()


def smtp(tls, host, port, user, password):
    if tls == "Implicit":
        server = smtplib.SMTP_SSL(host, port, context=checked(), timeout=PATIENCE)
    else:
        server = smtplib.SMTP(host, port, timeout=PATIENCE)
    with server:
        if tls == "StartTls":
            server.starttls(context=checked())
        server.login(user, password)
        server.sendmail(user, [user], sys.stdin.buffer.read())


main()
