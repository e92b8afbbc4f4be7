// nodemailer and imapflow, as a service written for Node.js uses them.
//
// node.mjs WHAT HOST PORT USER PASSWORD [AUTHORITY]; WHAT is imap, imap-login, imap-tls, smtp-plain, smtp-login or
// smtp-starttls. A message goes in by standard input, or the number of the one that is wanted, and out by standard output.
// Exit status 67: the login was refused, in the words on standard error.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

// Where tests/install has put them, which is no place where Node.js looks by itself.
const require = createRequire(`${process.env.OXPOST_NODE_MODULES}/`);
const { ImapFlow } = require('imapflow');
const nodemailer = require('nodemailer');

const REFUSED = 67;
const PATIENCE = 60_000;

const [what, host, port, user, pass, authority] = process.argv.slice(2);
const input = readFileSync(0);
const tls = () => ({ ca: readFileSync(authority), servername: 'localhost' });

const ways = {
    'imap': () => imap({}),
    'imap-login': () => imap({ auth: { user, pass, loginMethod: 'LOGIN' } }),
    'imap-tls': () => imap({ secure: true, tls: tls() }),
    'smtp-plain': () => smtp({ authMethod: 'PLAIN', ignoreTLS: true }),
    'smtp-login': () => smtp({ authMethod: 'LOGIN', ignoreTLS: true }),
    'smtp-starttls': () => smtp({ requireTLS: true, tls: tls() }),
};

async function imap(options) {
    const server = new ImapFlow({ host, port, secure: false, auth: { user, pass }, logger: false, ...options });
    await server.connect();
    await server.mailboxOpen('INBOX', { readOnly: true });
    const message = await server.fetchOne(input.toString(), { source: true });
    process.stdout.write(message.source);
    await server.logout();
}

async function smtp(options) {
    const patience = { connectionTimeout: PATIENCE, greetingTimeout: PATIENCE, socketTimeout: PATIENCE };
    const server = nodemailer.createTransport({ host, port, secure: false, auth: { user, pass }, ...patience, ...options });
    await server.sendMail({ envelope: { from: user, to: [user] }, raw: input });
    server.close();
}

try {
    await ways[what]();
} catch (error) {
    console.error(error);
    // imapflow keeps the connection, and so the process.
    process.exit(error.authenticationFailed || error.code === 'EAUTH' ? REFUSED : 1);
}
