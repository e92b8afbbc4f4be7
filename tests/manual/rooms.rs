//! Which module may import which: the rules of `docs/design.md` for the rooms of `proxy/src`, and no import circles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::root;

/// What each room of `proxy/src` may import besides itself. A room that is missing here fails the test.
const MAY_IMPORT: [(&str, &[&str]); 15] = [
    ("admin", &["config", "context", "failure", "mail_protocol", "net", "upstream"]),
    ("cli", &["admin", "config", "context", "journal", "log", "net", "platform", "server"]),
    ("config", &["limits", "platform"]),
    ("context", &["config", "journal", "limits", "log", "monitor", "net", "platform", "upstream"]),
    ("failure", &["config", "limits", "upstream"]),
    ("journal", &["config", "log"]),
    ("limits", &["config", "log"]),
    ("log", &["config", "limits"]),
    ("mail_protocol", &["config", "context"]),
    ("monitor", &["config", "context", "failure", "journal", "server"]),
    ("net", &["platform"]),
    ("platform", &[]),
    (
        "server",
        &[
            "admin",
            "config",
            "context",
            "failure",
            "journal",
            "limits",
            "log",
            "mail_protocol",
            "monitor",
            "net",
            "upstream",
        ],
    ),
    (
        "testing",
        &[
            "admin", "cli", "config", "context", "failure", "journal", "limits", "log", "monitor", "net", "server",
            "upstream",
        ],
    ),
    ("upstream", &["config", "context", "failure", "limits", "mail_protocol", "monitor", "net"]),
];

/// Only these of the room `server` may import `admin`: they put the process together. The data path may not.
const ASSEMBLY: [&str; 3] = ["server", "server::background", "server::startup"];

/// The imports of each module, without those of its tests.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Reads the modules below a folder of sources. `crate::a::b::C` counts as an import of the longest module that there is.
fn imports(folder: &Path) -> Imports {
    let mut sources = BTreeMap::new();
    collect(folder, folder, &mut sources);
    let modules: BTreeSet<String> = sources.keys().cloned().collect();
    let of = |(module, source): (&String, &String)| {
        let all = paths(source, module).into_iter().filter_map(|path| longest_known(&path, &modules));
        (module.clone(), all.filter(|imported| imported != module).collect())
    };
    sources.iter().map(of).collect()
}

fn collect(root: &Path, folder: &Path, sources: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let stem = path.with_extension("");
            let parts = stem.strip_prefix(root).unwrap().iter().map(|part| part.to_str().unwrap());
            let name = parts.collect::<Vec<_>>().join("::");
            // Tests and models may look anywhere.
            if name.split("::").any(|part| ["tests", "model", "receiver"].contains(&part))
                || name == "main"
                || name == "lib"
            {
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            sources.insert(name, code.join("\n"));
        }
    }
}

/// Every path that begins with `crate::` or `super::`, with its groups in braces resolved as far as their first segment.
fn paths(source: &str, module: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, keyword) in source.match_indices("crate::").chain(source.match_indices("super::")) {
        let before = &source[..start];
        if before.ends_with(|before: char| before.is_alphanumeric() || before == '_') || before.ends_with("super::") {
            continue;
        }
        let mut rest = &source[start..];
        let mut base: Vec<&str> = if keyword == "crate::" { Vec::new() } else { module.split("::").collect() };
        rest = rest.strip_prefix("crate::").unwrap_or(rest);
        while let Some(above) = rest.strip_prefix("super::") {
            base.pop();
            rest = above;
        }
        let end = rest.find(|next: char| !(next.is_alphanumeric() || next == '_' || next == ':')).unwrap_or(rest.len());
        base.extend(rest[..end].trim_end_matches(':').split("::").filter(|segment| !segment.is_empty()));
        match rest[end..].strip_prefix('{').and_then(|group| group.split_once("};")) {
            Some((group, _)) => {
                let names = group.split([',', '{', '}']).map(str::trim).filter(|name| !name.is_empty());
                let names = names.filter_map(|name| name.split([':', ' ']).next());
                found.extend(names.map(|name| [&base[..], &[name]].concat().join("::")));
            }
            None => found.push(base.join("::")),
        }
    }
    found
}

fn longest_known(path: &str, modules: &BTreeSet<String>) -> Option<String> {
    let segments: Vec<&str> = path.split("::").collect();
    (1..=segments.len()).rev().map(|count| segments[..count].join("::")).find(|name| modules.contains(name))
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

/// The part of a room that a module belongs to: a part is read as a whole, and its own modules may know each other. The
/// configuration is one part.
fn part(module: &str) -> String {
    let count = if room(module) == "config" { 1 } else { 2 };
    module.split("::").take(count).collect::<Vec<_>>().join("::")
}

/// The imports of parts. `server.rs` is no part: it puts the process together.
fn of_parts(imports: &Imports) -> Imports {
    let mut parts = Imports::new();
    for (module, imported) in imports.iter().filter(|(module, _)| *module != "server") {
        let others = imported.iter().map(|one| part(one)).filter(|one| *one != part(module));
        parts.entry(part(module)).or_default().extend(others);
    }
    parts
}

/// A circle of parts that import each other, if there is one.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    imports.keys().find_map(|start| visit(start, imports, &mut Vec::new(), &mut done))
}

fn visit(module: &str, imports: &Imports, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
    if let Some(position) = way.iter().position(|one| one == module) {
        return Some(way[position..].to_vec());
    }
    if done.contains(module) {
        return None;
    }
    way.push(module.to_owned());
    for imported in imports.get(module).into_iter().flatten() {
        if let Some(found) = visit(imported, imports, way, done) {
            return Some(found);
        }
    }
    way.pop();
    done.insert(module.to_owned());
    None
}

#[test]
fn rooms_of_the_proxy_import_only_what_they_may() {
    let imports = imports(&root().join("proxy/src"));
    let mut wrong = Vec::new();
    for (module, imported) in &imports {
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room(module)) else {
            wrong.push(format!("{module} is in no room"));
            continue;
        };
        for one in imported.iter().filter(|one| room(one) != room(module)) {
            if !allowed.contains(&room(one)) {
                wrong.push(format!("{module} must not import {one}"));
            }
            if room(one) == "admin" && room(module) == "server" && !ASSEMBLY.contains(&module.as_str()) {
                wrong.push(format!("{module} is part of the data path and must not import {one}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unused: Vec<_> = MAY_IMPORT
        .iter()
        .flat_map(|(name, allowed)| allowed.iter().map(move |one| (*name, *one)))
        .filter(|(name, one)| {
            !imports
                .iter()
                .any(|(module, all)| room(module) == *name && all.iter().any(|imported| room(imported) == *one))
        })
        .collect();
    assert!(unused.is_empty(), "no longer needed: {unused:?}");
}

#[test]
fn parts_of_the_proxy_have_no_import_circles() {
    let circle = circle(&of_parts(&imports(&root().join("proxy/src"))));
    assert!(circle.is_none(), "{}", circle.unwrap_or_default().join(" -> "));
}

#[test]
fn circle_and_groups_are_found() {
    let source = "use crate::{a::X, b};\nuse crate::c::{d, E};\nfn f() { crate::g::h() } // mycrate::z";
    assert_eq!(paths(source, "a"), ["a", "b", "c::d", "c::E", "g::h"]);
    assert_eq!(paths("use super::x::Y; use super::super::z;", "a::b"), ["a::x::Y", "z"]);
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let of = |edges: &[(&str, &[&str])]| edges.iter().map(|(one, others)| (one.to_string(), set(others))).collect();
    assert_eq!(circle(&of(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])])).map(|found| found.len()), Some(3));
    assert_eq!(circle(&of(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])), None);
    let nested = of(&[("a::b", &["a::c::d"]), ("a::c::d", &["e"]), ("a::c::f", &["a::b"]), ("e", &[])]);
    assert_eq!(circle(&nested), None);
    assert!(circle(&of_parts(&nested)).is_some(), "what is in one part counts together");
}
