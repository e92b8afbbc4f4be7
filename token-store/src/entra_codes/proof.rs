//! Errors in how an application proves itself: secret, certificate, federated token; and whether the tenant has it.

use super::{Row, misconfigured, transient};

const CERTIFICATE: &str = "Microsoft Entra admin center > App registrations > Certificates & secrets: compare the thumbprint with the certificate \
                           that proxy.toml names, and upload that one.";

const FEDERATED: &str = "Microsoft Entra admin center > App registrations > Certificates & secrets > Federated credentials: compare issuer, \
                         subject and audience, letter by letter, with the token in federated-token-file.";

const SECRET: &str = "Microsoft Entra admin center > App registrations > Certificates & secrets: make a secret, and store its Value with \
                      `oxpost application secret {application}`; or name a certificate in proxy.toml.";

const PRESENT: &str = "Compare client id and tenant in proxy.toml with Microsoft Entra admin center > App registrations > Overview; an application \
                       of another tenant needs admin consent in this one first.";

const CLOCK: &str = "Set this machine's clock (on Windows `w32tm /resync`, on Linux `timedatectl`), then run `oxpost sign-in {mailbox}`.";

pub(super) const ROWS: &[Row] = &[
    misconfigured(
        50_012,
        "Microsoft could not verify the certificate of the application `{application}`.",
        CERTIFICATE,
    ),
    misconfigured(50_013, "The client assertion of the application `{application}` is not accepted.", CERTIFICATE),
    misconfigured(
        500_133,
        "The client assertion of the application `{application}` is outside its period of validity.",
        CLOCK,
    ),
    misconfigured(50_006, "A signature in the request does not verify.", CERTIFICATE),
    misconfigured(50_027, "The token that proves the application `{application}` is not accepted.", FEDERATED),
    misconfigured(50_048, "The token that proves the application `{application}` names another one.", FEDERATED),
    misconfigured(
        50_120,
        "The header of the token that proves the application `{application}` is not accepted.",
        FEDERATED,
    ),
    misconfigured(
        50_146,
        "The registration of `{application}` changes the claims of its tokens and has no signing key of its own.",
        "Microsoft Entra admin center > Enterprise applications > Single sign-on > Attributes & Claims: remove the claims mapping, or use \
         an application without one.",
    ),
    misconfigured(
        501_461,
        "The registration of `{application}` allows mapped claims, which its scopes do not.",
        "Microsoft Entra admin center > App registrations > Manifest: set acceptMappedClaims to false.",
    ),
    misconfigured(
        700_021,
        "The client assertion names another application than the client id of `{application}`.",
        FEDERATED,
    ),
    misconfigured(70_021, "No federated credential of the application `{application}` fits the token.", FEDERATED),
    misconfigured(700_026, "The application `{application}` has no certificate or secret at Microsoft.", SECRET),
    misconfigured(
        700_030,
        "The subject of the certificate is not allowed for the application `{application}`.",
        CERTIFICATE,
    ),
    misconfigured(
        700_222,
        "A token of Microsoft Entra itself cannot prove the application `{application}`.",
        FEDERATED,
    ),
    misconfigured(
        700_226,
        "Only a managed identity's token can prove the application `{application}` by federation within Microsoft Entra.",
        FEDERATED,
    ),
    misconfigured(
        700_229,
        "A user's token cannot prove the application `{application}`; it must be the token of an application.",
        FEDERATED,
    ),
    misconfigured(
        700_236,
        "The federated token of `{application}` is of another tenant of Microsoft Entra.",
        "Register the application in the tenant of the managed identity (Microsoft Entra admin center > App registrations), or use a \
         certificate.",
    ),
    misconfigured(
        900_384,
        "The signature of the token that proves the application `{application}` does not verify.",
        FEDERATED,
    ),
    transient(
        90_061,
        "Microsoft could not fetch the keys of the platform that issues the federated token of `{application}`.",
        "Check that the issuer's /.well-known/openid-configuration can be reached from the internet, as https:// with a public certificate.",
    ),
    misconfigured(
        7_000_110,
        "The request names more than one application.",
        "Remove client_id from authorize-parameters in proxy.toml.",
    ),
    misconfigured(
        7_000_216,
        "The application `{application}` must prove itself, and sent neither secret nor certificate.",
        SECRET,
    ),
    misconfigured(
        7_000_219,
        "The application `{application}` must prove itself with a certificate or a secret.",
        SECRET,
    ),
    misconfigured(
        7_000_229,
        "The application `{application}` has no enterprise application (service principal) in this tenant.",
        "Grant admin consent in this tenant: Microsoft Entra admin center > App registrations > API permissions; or check the tenant in \
         proxy.toml.",
    ),
    misconfigured(70_001, "The application `{application}` is disabled, or the tenant does not know it.", PRESENT),
    misconfigured(700_011, "The tenant knows no application with the client id of `{application}`.", PRESENT),
    misconfigured(
        650_051,
        "The tenant is unmanaged, so that no application can be added to it.",
        "Take the domain over as an administrator (https://learn.microsoft.com/entra/identity/users/domains-admin-takeover), or add the \
         application at Microsoft Entra admin center > App registrations.",
    ),
    misconfigured(
        1_000_031,
        "The application `{application}` cannot be used at this time.",
        "Microsoft Entra admin center > Enterprise applications > Properties: see whether it is disabled, or blocked by Microsoft.",
    ),
    misconfigured(
        90_099,
        "The application `{application}` is not authorized in the customer's tenant.",
        "Grant admin consent in that tenant: Microsoft Entra admin center > Enterprise applications; partners authorize it by the Partner \
         Center API.",
    ),
    misconfigured(
        501_051,
        "The application `{application}` is not assigned to a role of the service that it asks for.",
        "Microsoft Entra admin center > App registrations > API permissions: add the application permission (IMAP.AccessAsApp, \
         POP.AccessAsApp, SMTP.SendAsApp) and grant admin consent.",
    ),
    misconfigured(
        100_007,
        "A regional address of the sign-in service does not serve the application `{application}`.",
        "Remove authority, authorize-url and token-url from proxy.toml, or use a preset.",
    ),
];
