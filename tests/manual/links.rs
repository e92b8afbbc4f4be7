//! Links lead somewhere: each file of a link is there, and each heading of an anchor; so is each page that a message names.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::{pages, read, root};

/// The anchors of a page, as GitHub makes them of its headings.
fn anchors(page: &str) -> HashSet<String> {
    let (mut anchors, mut seen, mut in_block) = (HashSet::new(), HashMap::<String, usize>::new(), false);
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        let Some(heading) = line.strip_prefix('#').filter(|_| !in_block) else { continue };
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let count = seen.entry(anchor.clone()).or_default();
        anchors.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    anchors
}

/// The targets of the links in a page.
fn links(page: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut in_block = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        let outside_code: String = line.split('`').step_by(2).collect();
        for rest in outside_code.split("](").skip(1).filter(|_| !in_block) {
            links.push(rest.split(')').next().unwrap().to_owned());
        }
    }
    links
}

/// What is wrong with a link of this page.
fn broken(page: &Path, link: &str) -> Option<String> {
    if link.starts_with("https://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = if file.is_empty() { page.to_owned() } else { page.parent().unwrap().join(file) };
    let found = root().join(&target);
    if !found.exists() {
        return Some(format!("{}: there is no {}", page.display(), target.display()));
    }
    let anchor = anchor?;
    let text = std::fs::read_to_string(&found).unwrap();
    (!anchors(&text).contains(anchor)).then(|| format!("{}: {file} has no heading #{anchor}", page.display()))
}

#[test]
fn links_between_pages_lead_to_a_file_and_a_heading() {
    let (mut count, mut wrong) = (0, Vec::new());
    for page in pages() {
        for link in links(&read(&page)) {
            count += 1;
            wrong.extend(broken(&page, &link));
        }
    }
    println!("{count} links");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 150, "only {count} links were found");
}

#[test]
fn broken_links_are_found() {
    let readme = Path::new("README.md");
    assert_eq!(links("[a](docs/a.md) `[b](c)` [d](#d)\n```sh\n[e](f)\n```\n"), ["docs/a.md", "#d"]);
    assert!(broken(readme, "docs/no-such-page.md").is_some());
    assert!(broken(readme, "docs/accounts.md#no-such-heading").is_some());
    assert!(broken(Path::new("docs/accounts.md"), "README.md").is_some());
    assert_eq!(broken(readme, "docs/accounts.md#accounts-in-proxytoml"), None);
    assert_eq!(anchors("# A `b` c.d\n## Same\n## Same\n"), ["a-b-cd", "same", "same-1"].map(str::to_owned).into());
}

/// Files that name pages: sources, the configuration, scripts.
pub(crate) fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (folder.join(entry.file_name()), entry.file_type().unwrap());
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && !["target", ".git", "corpus", "node_modules"].contains(&name.as_str()) {
            sources(&path, found);
        } else if kind.is_file() && [".rs", ".toml", ".md", ".sh"].iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

#[test]
fn pages_that_sources_and_messages_name_exist() {
    let mut files = Vec::new();
    sources(Path::new(""), &mut files);
    let (mut count, mut wrong) = (0, Vec::new());
    // This file names pages that are not there.
    for file in files.iter().filter(|file| !file.ends_with("manual/links.rs")) {
        let text = read(file);
        for (at, _) in text.match_indices("docs/") {
            let named = |c: char| c.is_ascii_alphanumeric() || "-_./#".contains(c);
            let name: String = text[at..].chars().take_while(|c| named(*c)).collect();
            let Some(end) = name.find(".md") else { continue };
            let outside = text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '-');
            if outside {
                continue;
            }
            count += 1;
            if !root().join(&name[..end + 3]).is_file() {
                wrong.push(format!("{} names {name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 30, "only {count} names of pages were found");
}
