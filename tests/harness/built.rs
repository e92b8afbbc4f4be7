//! Where the program is that the tests play with. It must be that of the sources as they are now.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Problem;

/// The program that was built with the same profile as the running one, which is in the same folder or the one below.
///
/// # Errors
/// It was not built, or its sources have changed since.
pub(super) fn find() -> Result<PathBuf, Problem> {
    let name = format!("oxpost{}", std::env::consts::EXE_SUFFIX);
    let this = std::env::current_exe()?;
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join(&name)).find(|file| file.is_file());
    let release = if this.components().any(|part| part.as_os_str() == "release") { " --release" } else { "" };
    let build = format!("cargo build --package oxpost{release}");
    let found = found.ok_or_else(|| Problem::new(format!("the program oxpost was not built. Run: {build}")))?;
    match why_stale(&found) {
        None => Ok(found),
        Some(why) => Err(Problem::new(format!(
            "{} is not what its sources are now: {why}. To test what they are: {build}",
            found.display()
        ))),
    }
}

/// Cargo writes next to a program which files it was made of, and builds it again when one of them is newer.
fn why_stale(program: &Path) -> Option<String> {
    let list = program.with_extension("d");
    let Ok(sources) = std::fs::read_to_string(&list) else { return Some(format!("there is no {}", list.display())) };
    let built = modified(program)?;
    let sources = sources_of(&sources);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    if !sources.iter().any(|source| source.starts_with(root)) {
        return Some(format!("it was built from sources outside {}", root.display()));
    }
    sources.iter().find_map(|source| match modified(source) {
        None => Some(format!("{} is gone", source.display())),
        Some(changed) => (changed > built).then(|| format!("{} has changed", source.display())),
    })
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

/// The files behind the colon of a list as make reads it, where a backslash keeps the blank behind it.
fn sources_of(list: &str) -> Vec<PathBuf> {
    let files = list.split_once(": ").map_or("", |(_, files)| files);
    let (mut sources, mut name) = (Vec::new(), String::new());
    let mut letters = files.trim_end().chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('\\', Some(' ')) => name.extend(letters.next()),
            (' ', _) => sources.push(std::mem::take(&mut name)),
            (letter, _) => name.push(letter),
        }
    }
    sources.push(name);
    sources.into_iter().filter(|name| !name.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_list_of_sources_is_read() {
        let list = "/a/target/debug/oxpost: /a/src/main.rs /a\\ b/src/lib.rs C:\\c.rs\n";
        let expected = ["/a/src/main.rs", "/a b/src/lib.rs", "C:\\c.rs"].map(PathBuf::from);
        assert_eq!(sources_of(list), expected);
        assert_eq!(sources_of("nothing"), Vec::<PathBuf>::new());
    }

    #[test]
    fn outdated_or_foreign_program_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let (program, list) = (folder.path().join("oxpost"), folder.path().join("oxpost.d"));
        let (main, gone) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("lib.rs"), folder.path().join("gone.rs"));
        let built = |at: SystemTime| std::fs::File::create(&program).unwrap().set_modified(at).unwrap();
        let listed = |sources: &[&Path]| {
            let sources: Vec<String> = sources.iter().map(|source| source.display().to_string()).collect();
            std::fs::write(&list, format!("{}: {}\n", program.display(), sources.join(" "))).unwrap();
        };
        let changed = modified(&main).unwrap();
        built(changed + Duration::from_secs(1));
        assert!(why_stale(&program).unwrap().contains("there is no"));
        listed(&[&main]);
        assert_eq!(why_stale(&program), None);
        built(changed - Duration::from_secs(1));
        assert!(why_stale(&program).unwrap().contains("lib.rs has changed"));
        built(changed + Duration::from_secs(1));
        listed(&[&main, &gone]);
        assert!(why_stale(&program).unwrap().contains("gone.rs is gone"));
        listed(&[&program]);
        assert!(why_stale(&program).unwrap().contains("sources outside"));
    }
}
