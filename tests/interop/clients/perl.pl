# Perl's mail modules, as a script of an administrator uses them.
#
# perl.pl WHAT HOST PORT USER PASSWORD [AUTHORITY]; WHAT is imapclient, imapclient-plain, imapclient-tls, imapsimple, pop3,
# pop3-sasl, pop3-stls, smtp-plain, smtp-login or smtp-starttls. A message goes in by standard input, or the
# number of the one that is wanted, and out by standard output.
# Exit status 67: the login was refused, in the words on standard error.
use strict;
use warnings;

for my $module (qw(Authen::SASL IO::Socket::SSL Mail::IMAPClient Net::IMAP::Simple Net::POP3 Net::SMTP)) {
    eval "require $module" or die "$module is not installed, and this test plays with it. Run: ./tests/install\n$@";
}

use constant { PATIENCE => 60, REFUSED => 67 };

my ($what, $host, $port, $user, $password, $authority) = @ARGV;
my @tls = (SSL_ca_file => $authority, SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_PEER());

my %ways = (
    'imapclient'       => sub { imap_client(Authmechanism => 'LOGIN') },
    'imapclient-plain' => sub { imap_client(Authmechanism => 'PLAIN') },
    'imapclient-tls'   => sub { imap_client(Ssl => [@tls]) },
    'imapsimple'       => \&imap_simple,
    'pop3'             => sub { pop3(sub { defined $_[0]->login($user, $password) }) },
    'pop3-sasl'        => sub { pop3(sub { $_[0]->auth(sasl('PLAIN')) }) },
    'pop3-stls'        => sub { pop3(sub { $_[0]->starttls(@tls) && defined $_[0]->login($user, $password) }) },
    'smtp-plain'       => sub { smtp(sub { $_[0]->auth(sasl('PLAIN')) }) },
    'smtp-login'       => sub { smtp(sub { $_[0]->auth(sasl('LOGIN')) }) },
    'smtp-starttls'    => sub { smtp(sub { $_[0]->starttls(@tls) or die "no TLS: $@"; $_[0]->auth($user, $password) }) },
);
binmode STDIN;
binmode STDOUT;
my $input = do { local $/; <STDIN> };
$ways{$what}->();

sub refused {
    print STDERR "@_\n";
    exit REFUSED;
}

# With a user name and a password alone the modules would choose the mechanism.
sub sasl {
    my ($mechanism) = @_;
    return Authen::SASL->new(mechanism => $mechanism, callback => { user => $user, authname => q{}, pass => $password });
}

sub imap_client {
    my $server = Mail::IMAPClient->new(Server => $host, Port => $port, Timeout => PATIENCE, @_) or die "connect: $@";
    $server->User($user);
    $server->Password($password);
    $server->login or refused($server->LastError);
    $server->Peek(1);
    $server->examine('INBOX') or die $server->LastError;
    my $uid = $server->messages->[$input - 1];
    print $server->message_string($uid) // die $server->LastError;
    $server->logout or die $server->LastError;
}

sub imap_simple {
    my $server = Net::IMAP::Simple->new("$host:$port", timeout => PATIENCE)
        or die "connect: $@";
    $server->login($user, $password) or refused($server->errstr);
    $server->select('INBOX') or die $server->errstr;
    print @{ $server->get($input) or die $server->errstr };
    $server->quit;
}

sub pop3 {
    my ($login) = @_;
    my $server = Net::POP3->new($host, Port => $port, Timeout => PATIENCE) or die "connect: $@";
    $login->($server) or refused($server->message);
    print @{ $server->get($input) or die $server->message };
    $server->quit;
}

sub smtp {
    my ($login) = @_;
    my $server = Net::SMTP->new($host, Port => $port, Timeout => PATIENCE) or die "connect: $@";
    $login->($server) or refused($server->message);
    $server->mail($user) && $server->to($user) && $server->data($input) or die $server->message;
    $server->quit;
}
