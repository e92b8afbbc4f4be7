//! The nodes that share a PostgreSQL database, as a table.

use std::time::SystemTime;

use oxpost_token_store::store::nodes::NodeStatus;

use super::table::table;
use super::times::distance;

/// A table with one row for each node.
pub(super) fn shown(nodes: &[NodeStatus], now: SystemTime) -> String {
    let row = |node: &NodeStatus| {
        vec![node.name.clone(), node.id.clone(), distance(node.since, now), distance(Some(node.last_contact), now)]
    };
    table(&["NODE", "ID", "SINCE", "LAST CONTACT"], &nodes.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_node_has_a_row() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let node = NodeStatus {
            id: "id-of-mx1".into(),
            name: "mx1".into(),
            since: Some(now - Duration::from_secs(7200)),
            last_contact: now - Duration::from_secs(3),
            send_limits: None,
        };
        assert_eq!(shown(&[node], now), "NODE  ID         SINCE   LAST CONTACT\nmx1   id-of-mx1  2h ago  3s ago\n");
    }
}
