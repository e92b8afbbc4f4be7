//! The modules of a crate import each other in one direction: a module can be read before those that import it. A circle between
//! top-level modules fails, unless one of its imports is listed as an exception with its reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// An import that may close a circle: from, to, and why.
pub(crate) type Exception = (&'static str, &'static str, &'static str);

const TOKEN_STORE: &[Exception] = &[
    (
        "application",
        "credential",
        "a registration holds the credential that proves it, and a client assertion names its registration",
    ),
    (
        "http",
        "credential",
        "the exchange adds the credential to a request at the last moment, and managed identities ask over HTTP",
    ),
];

#[test]
fn token_store_modules_have_no_import_circle() {
    assert_eq!(problems(&super::root().join("token-store/src"), TOKEN_STORE), Vec::<String>::new());
}

#[test]
fn imports_are_read_without_comments_strings_and_tests() {
    let code = r##"
        // crate::comment
        use crate::{first::{self, Inner}, second::Other, Type};
        fn f() -> &'static str { crate::third::g('"', '\\', r#"crate::raw"#); "\"crate::string" }
        #[cfg(test)]
        mod tests { use crate::tested; const BRACE: &str = "}"; }
        #[cfg(test)]
        use crate::also_tested;
        fn g<'a>(_: &'a str) { $crate::fourth::h(); mycrate::fifth(); }
    "##;
    let expected = ["Type", "first", "fourth", "second", "third"].map(str::to_owned);
    assert_eq!(imported(code), BTreeSet::from(expected));
}

#[test]
fn circle_is_found_and_its_exception_ends_it() {
    let imports = [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")];
    let graph: Graph = imports.iter().fold(Graph::new(), |mut graph, (from, to)| {
        graph.entry((*from).to_owned()).or_default().insert((*to).to_owned(), PathBuf::from("x.rs"));
        graph
    });
    assert_eq!(circle(&graph, &[]), Some(["a", "b", "c"].map(str::to_owned).to_vec()));
    assert_eq!(circle(&graph, &[("c", "a", "")]), None);
}

/// The top-level modules, what each imports, and the file that does.
type Graph = BTreeMap<String, BTreeMap<String, PathBuf>>;

/// Circles between the top-level modules under `src`, and exceptions that no file needs any more. Tests are left out.
pub(crate) fn problems(src: &Path, exceptions: &[Exception]) -> Vec<String> {
    let graph = graph(src);
    assert!(graph.len() > 5, "no modules found in {}", src.display());
    let stale =
        exceptions.iter().filter(|(from, to, _)| !graph.get(*from).is_some_and(|to_all| to_all.contains_key(*to)));
    let mut problems: Vec<String> =
        stale.map(|(from, to, _)| format!("{from} does not import {to}: remove the exception")).collect();
    if let Some(circle) = circle(&graph, exceptions) {
        let next = |index: usize| &circle[(index + 1) % circle.len()];
        let step = |(index, from): (usize, &String)| {
            format!("{from} -> {} ({})", next(index), graph[from][next(index)].display())
        };
        problems.push(format!("import circle: {}", circle.iter().enumerate().map(step).collect::<Vec<_>>().join(", ")));
    }
    problems
}

fn graph(src: &Path) -> Graph {
    let mut files = Vec::new();
    collect(src, &mut files);
    let module = |file: &Path| {
        let first = file.strip_prefix(src).unwrap().components().next().unwrap();
        first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    let modules: BTreeSet<String> =
        files.iter().map(|file| module(file)).filter(|name| name != "lib" && name != "main").collect();
    let mut graph: Graph = modules.iter().map(|name| (name.clone(), BTreeMap::new())).collect();
    for file in &files {
        let from = module(file);
        let Some(imports) = graph.get_mut(&from) else { continue };
        for to in imported(&std::fs::read_to_string(file).unwrap()) {
            if to != from && modules.contains(&to) {
                imports.entry(to).or_insert_with(|| file.strip_prefix(src).unwrap().to_owned());
            }
        }
    }
    graph
}

/// Every `.rs` file but those of tests.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "tests" || name == "model" {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// The modules that are named after `crate::` in code that is not a test.
fn imported(code: &str) -> BTreeSet<String> {
    let code = without_tests(&without_comments_and_strings(code));
    let mut names = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_members(group)),
            None => names.extend(first_name(rest)),
        }
    }
    names
}

fn first_name(text: &str) -> Option<String> {
    let name: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The first names of the members of `{a::b, c::{d, e}}`, whose opening brace is gone.
fn group_members(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut names) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.extend(first_name(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.extend(first_name(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

/// The code without comments, and with nothing between the quotes of its strings.
fn without_comments_and_strings(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#") => raw_string(rest),
            '"' => string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if skipped == 0 {
            kept.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            kept.push(' ');
            rest = &rest[skipped..];
        }
    }
    kept
}

/// The length of a string literal.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a raw string literal; 0 if it is a raw identifier.
fn raw_string(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    text[2 + hashes..].find(&end).map_or(text.len(), |at| 2 + hashes + at + end.len())
}

/// The length of a character literal; 0 if it is a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(0, |at| 3 + at + 1),
        Some((at, c)) if text[at + c.len_utf8()..].starts_with('\'') => at + c.len_utf8() + 1,
        _ => 0,
    }
}

/// The code without items under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const TEST: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(TEST) {
        kept.push_str(&rest[..at]);
        rest = &rest[at + TEST.len()..];
        let mut depth = 0_usize;
        let end = rest.char_indices().find(|(_, c)| match c {
            '{' => {
                depth += 1;
                false
            }
            '}' => {
                depth = depth.saturating_sub(1);
                depth == 0
            }
            ';' | ',' => depth == 0,
            _ => false,
        });
        rest = end.map_or("", |(end, _)| &rest[end + 1..]);
    }
    kept.push_str(rest);
    kept
}

/// One circle of imports, in their order from its alphabetically first module; none if there is none but for the exceptions.
fn circle(graph: &Graph, exceptions: &[Exception]) -> Option<Vec<String>> {
    graph.keys().find_map(|start| {
        let (mut paths, mut seen) = (vec![vec![start.clone()]], BTreeSet::new());
        while let Some(path) = paths.pop() {
            let last = path.last()?;
            for to in graph.get(last).into_iter().flat_map(BTreeMap::keys) {
                if exceptions.iter().any(|(from, except, _)| from == last && except == to) {
                    continue;
                }
                if to == start {
                    return Some(path);
                }
                if seen.insert(to.clone()) {
                    paths.push(path.iter().chain([to]).cloned().collect());
                }
            }
        }
        None
    })
}
