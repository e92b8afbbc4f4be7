//! The tables of the store, as the ordered migrations that make them.
//!
//! To change the tables, append a file `migrations/NNNN_name.sql` and its entry here. A file that was released is never
//! changed. A migration only adds (tables, columns with a default, indices): while nodes are upgraded one after the other,
//! programs of the version before go on reading and writing the tables they know.

use crate::database::{Migration, Schema};

/// The store of accounts and tokens. The n-th migration in this list makes version n.
pub const STORE_SCHEMA: Schema = Schema {
    name: "store",
    // "OxPo".
    application_id: 0x4f78_506f,
    postgres_schema: "oxpost",
    postgres_channel: Some("oxpost_token"),
    when_alone: Some(super::lease::END_ALL),
    migrations: &[
        Migration {
            sql: include_str!("migrations/0001_initial.sql"),
            postgres: include_str!("migrations/0001_initial.postgres.sql"),
        },
        Migration { sql: include_str!("migrations/0002_smtp_extensions.sql"), postgres: "" },
        Migration { sql: include_str!("migrations/0003_login_throttle.sql"), postgres: "" },
        Migration { sql: include_str!("migrations/0004_authority_circuit.sql"), postgres: "" },
        Migration { sql: include_str!("migrations/0005_access_seal.sql"), postgres: "" },
        Migration { sql: include_str!("migrations/0006_growth.sql"), postgres: "" },
        Migration {
            sql: include_str!("migrations/0007_nodes.sql"),
            postgres: include_str!("migrations/0007_nodes.postgres.sql"),
        },
        Migration { sql: include_str!("migrations/0008_identity.sql"), postgres: "" },
        Migration { sql: include_str!("migrations/0009_next_client_secret.sql"), postgres: "" },
        Migration { sql: include_str!("migrations/0010_clock_skew.sql"), postgres: "" },
        Migration { sql: include_str!("migrations/0011_node_details.sql"), postgres: "" },
        Migration { sql: include_str!("migrations/0012_accepted_certificate.sql"), postgres: "" },
    ],
};
