//! The nodes that share a PostgreSQL database, for `oxpost status` and `oxpost doctor`. Pure.

use std::collections::BTreeMap;

use oxpost_token_store::store::nodes::NodeStatus;
use serde_json::{Value, json};

use crate::admin::timestamp::rfc3339;

/// The nodes as a sentence.
pub(crate) fn sentence(nodes: &[NodeStatus]) -> String {
    let time = |time| rfc3339(time).unwrap_or_else(|| "unknown".to_owned());
    let node = |node: &NodeStatus| {
        format!(
            "{} ({}, since {}, last contact {})",
            node.name,
            node.id,
            time(node.since),
            time(Some(node.last_contact))
        )
    };
    match nodes.iter().map(node).collect::<Vec<_>>() {
        listed if listed.is_empty() => "no service uses this database now".to_owned(),
        listed if listed.len() == 1 => listed.join(", "),
        listed => match silent(nodes).join(", ") {
            none if none.is_empty() => format!("{}; they have the same send limits", listed.join(", ")),
            silent => format!(
                "{}; an earlier version, which does not report its send limits, runs on {silent}",
                listed.join(", ")
            ),
        },
    }
}

/// The nodes for scripts.
pub(crate) fn as_json(nodes: &[NodeStatus]) -> Value {
    let agree = match disagreement(nodes) {
        Some(_) => Some(false),
        None => silent(nodes).is_empty().then_some(true),
    };
    let node = |node: &NodeStatus| {
        json!({
            "id": node.id,
            "name": node.name,
            "since": rfc3339(node.since),
            "last_contact": rfc3339(Some(node.last_contact)),
            "send_limits": node.send_limits,
            "send_limits_agree": agree,
        })
    };
    nodes.iter().map(node).collect()
}

/// The nodes whose send limits are unknown.
fn silent(nodes: &[NodeStatus]) -> Vec<&str> {
    nodes.iter().filter(|node| node.send_limits.is_none()).map(|node| node.name.as_str()).collect()
}

/// What changes only when a node starts, stops or is configured differently.
pub(crate) fn steady(nodes: &[NodeStatus]) -> Value {
    nodes.iter().map(|node| json!([node.id, node.name, node.send_limits])).collect()
}

/// That the nodes have different send limits, if so. A node of an earlier version does not tell its limits.
pub(crate) fn disagreement(nodes: &[NodeStatus]) -> Option<String> {
    let mut by_limits: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in nodes {
        if let Some(limits) = &node.send_limits {
            by_limits.entry(limits).or_default().push(&node.name);
        }
    }
    if by_limits.len() < 2 {
        return None;
    }
    let groups: Vec<String> =
        by_limits.iter().map(|(limits, names)| format!("{}: {limits}.", names.join(", "))).collect();
    Some(format!(
        "The nodes have different send limits in proxy.toml, and each goes by its own. Make them the same and restart the nodes that \
         differ. {}",
        groups.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn node(name: &str, send_limits: Option<&str>) -> NodeStatus {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        NodeStatus {
            id: format!("id-of-{name}"),
            name: name.into(),
            since: Some(now - Duration::from_secs(7200)),
            last_contact: now - Duration::from_secs(3),
            send_limits: send_limits.map(str::to_owned),
        }
    }

    #[test]
    fn nodes_are_listed_and_disagreement_names_them() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut nodes = vec![node("mx1", Some("a: 3")), node("mx2", Some("a: 3")), node("old", None)];
        assert_eq!(disagreement(&nodes), None);
        assert_eq!(as_json(&nodes)[0]["send_limits_agree"], Value::Null);
        assert!(sentence(&nodes).ends_with("does not report its send limits, runs on old"), "{}", sentence(&nodes));
        assert_eq!(as_json(&nodes[..2])[0]["send_limits_agree"], true);
        assert!(sentence(&nodes[..2]).ends_with("they have the same send limits"));
        assert!(!sentence(&nodes[..1]).contains("limits"));
        nodes.push(node("mx3", Some("a: 6")));
        let sentence = disagreement(&nodes).unwrap();
        assert!(sentence.ends_with("that differ. mx1, mx2: a: 3. mx3: a: 6."), "{sentence}");
        let json = as_json(&nodes);
        assert_eq!((&json[3]["send_limits_agree"], &json[3]["since"]), (&json!(false), &json!("2027-01-15T06:00:00Z")));
        // The last contact changes by itself.
        let later = NodeStatus { last_contact: now, ..nodes[0].clone() };
        assert_eq!(steady(&nodes[..1]), steady(&[later]));
    }
}
