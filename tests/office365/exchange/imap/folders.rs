//! Folders: listing, selecting, and the numbers by which a session knows the messages of the selected one.

use std::io;

use super::super::connection::Connection;
use super::parse::{Command, Set};
use super::{Answer, Bad, OrBad as _, Session};
use crate::office365::lock;
use crate::office365::mailbox::{Folder, folder_name};

/// The folder a session has open. Sequence numbers are places in `uids`.
pub(super) struct Selected {
    pub(super) folder: String,
    pub(super) uids: Vec<u32>,
    pub(super) read_only: bool,
}

impl Selected {
    /// The sequence number of each message in a set of numbers or of UIDs.
    pub(super) fn find(&self, text: &str, by_uid: bool) -> Option<Vec<(usize, u32)>> {
        let count = u32::try_from(self.uids.len()).unwrap_or(u32::MAX);
        let greatest = if by_uid { self.uids.last().copied().unwrap_or(0) } else { count };
        let set = Set::read(text, greatest)?;
        let numbered = (1_u32..).zip(&self.uids).map(|(number, uid)| (number, *uid));
        let found = numbered.filter(|(number, uid)| set.contains(if by_uid { *uid } else { *number }));
        Some(found.map(|(number, uid)| (usize::try_from(number).unwrap_or(0), uid)).collect())
    }
}

const FLAGS: &str = r"(\Seen \Answered \Flagged \Deleted \Draft $MDNSent)";

impl Session {
    pub(super) async fn folder_command(&mut self, connection: &mut Connection, command: &mut Command) -> Answer {
        let verb = command.verb.clone();
        match verb.as_str() {
            "LIST" | "LSUB" | "XLIST" => {
                self.list(connection, command).await?;
                return Ok(format!("OK {verb} completed."));
            }
            "CLOSE" | "UNSELECT" => {
                let selected = self.selected.take().ok_or(Bad::State)?;
                if verb == "CLOSE" && !selected.read_only {
                    let mut store = lock(&connection.shared.store);
                    if let Some(folder) = store.folder(self.user(), &selected.folder) {
                        folder.messages.retain(|message| !message.has("\\Deleted"));
                    }
                    store.changed();
                }
                return Ok(format!("OK {verb} completed."));
            }
            _ => {}
        }
        command.space().or_bad()?;
        let name = folder_name(&command.string().or_bad()?);
        match verb.as_str() {
            "SELECT" | "EXAMINE" => {
                command.end().or_bad()?;
                self.select(connection, name, verb == "EXAMINE").await
            }
            "STATUS" => {
                command.space().or_bad()?;
                let items = command.list(Command::atom).or_bad()?;
                self.status(connection, &name, &items).await
            }
            "CREATE" if lock(&connection.shared.store).create(self.user(), &name) => {
                Ok("OK CREATE completed.".to_owned())
            }
            "CREATE" => Err(Bad::No("CREATE failed: the folder already exists.")),
            "RENAME" => {
                command.space().or_bad()?;
                let to = folder_name(&command.string().or_bad()?);
                let mut store = lock(&connection.shared.store);
                let folders = store.open(self.user());
                if name == "INBOX" || folders.contains_key(&to) {
                    return Err(Bad::No("RENAME failed."));
                }
                let folder = folders.remove(&name).ok_or(Bad::No("RENAME failed: no such folder."))?;
                folders.insert(to, folder);
                Ok("OK RENAME completed.".to_owned())
            }
            "DELETE" => {
                let removed =
                    name != "INBOX" && lock(&connection.shared.store).open(self.user()).remove(&name).is_some();
                if removed { Ok("OK DELETE completed.".to_owned()) } else { Err(Bad::No("DELETE failed.")) }
            }
            _ => {
                let mut store = lock(&connection.shared.store);
                let folder = store.folder(self.user(), &name).ok_or(Bad::No("The requested folder doesn't exist."))?;
                folder.subscribed = verb == "SUBSCRIBE";
                Ok(format!("OK {verb} completed."))
            }
        }
    }

    async fn list(&self, connection: &mut Connection, command: &mut Command) -> Result<(), Bad> {
        command.space().or_bad()?;
        let reference = command.string().or_bad()?;
        command.space().or_bad()?;
        let pattern = command.string().or_bad()?;
        let verb = &command.verb;
        if pattern.is_empty() {
            connection.say(&format!(r#"* {verb} (\Noselect) "/" """#)).await?;
            return Ok(());
        }
        let pattern = format!("{reference}{pattern}");
        let names: Vec<(String, bool)> = {
            let mut store = lock(&connection.shared.store);
            let folders = store.open(self.user());
            let all: Vec<String> = folders.keys().cloned().collect();
            let wanted = folders.iter().filter(|(name, folder)| {
                matches(name.as_bytes(), pattern.as_bytes()) && (verb != "LSUB" || folder.subscribed)
            });
            let children =
                |name: &str| all.iter().any(|other| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')));
            wanted.map(|(name, _)| (name.clone(), children(name))).collect()
        };
        for (name, children) in names {
            let children = if children { "\\HasChildren" } else { "\\HasNoChildren" };
            let special = match name.as_str() {
                "Sent Items" => " \\Sent",
                "Drafts" => " \\Drafts",
                "Deleted Items" => " \\Trash",
                "Junk Email" => " \\Junk",
                _ => "",
            };
            connection.say(&format!(r#"* {verb} ({children}{special}) "/" {}"#, mailbox(&name))).await?;
        }
        Ok(())
    }

    async fn select(&mut self, connection: &mut Connection, name: String, read_only: bool) -> Answer {
        self.selected = None;
        let (uids, unseen, uid_validity, uid_next) = {
            let mut store = lock(&connection.shared.store);
            let folder = store.folder(self.user(), &name);
            let folder: &Folder = folder.ok_or(Bad::No("The requested folder doesn't exist."))?;
            let uids: Vec<u32> = folder.messages.iter().map(|message| message.uid).collect();
            let unseen = folder.messages.iter().position(|message| !message.has("\\Seen"));
            (uids, unseen, folder.uid_validity, folder.uid_next)
        };
        connection.say(&format!("* {} EXISTS", uids.len())).await?;
        connection.say("* 0 RECENT").await?;
        connection.say(&format!("* FLAGS {FLAGS}")).await?;
        connection.say(&format!("* OK [PERMANENTFLAGS {FLAGS}] Permanent flags")).await?;
        if let Some(unseen) = unseen {
            connection.say(&format!("* OK [UNSEEN {}] Is the first unseen message", unseen + 1)).await?;
        }
        connection.say(&format!("* OK [UIDVALIDITY {uid_validity}] UIDVALIDITY value")).await?;
        connection.say(&format!("* OK [UIDNEXT {uid_next}] The next unique identifier value")).await?;
        self.selected = Some(Selected { folder: name, uids, read_only });
        Ok(if read_only {
            "OK [READ-ONLY] EXAMINE completed.".to_owned()
        } else {
            "OK [READ-WRITE] SELECT completed.".to_owned()
        })
    }

    async fn status(&self, connection: &mut Connection, name: &str, items: &[String]) -> Answer {
        let values: Vec<String> = {
            let mut store = lock(&connection.shared.store);
            let folder = store.folder(self.user(), name).ok_or(Bad::No("The requested folder doesn't exist."))?;
            let value = |item: &String| {
                let item = item.to_ascii_uppercase();
                let value = match item.as_str() {
                    "MESSAGES" => folder.messages.len(),
                    "UNSEEN" => folder.messages.iter().filter(|message| !message.has("\\Seen")).count(),
                    "UIDNEXT" => usize::try_from(folder.uid_next).ok()?,
                    "UIDVALIDITY" => usize::try_from(folder.uid_validity).ok()?,
                    "RECENT" => 0,
                    _ => return None,
                };
                Some(format!("{item} {value}"))
            };
            items.iter().map(value).collect::<Option<_>>().or_bad()?
        };
        connection.say(&format!("* STATUS {} ({})", mailbox(name), values.join(" "))).await?;
        Ok("OK STATUS completed.".to_owned())
    }

    /// Tells what happened in the selected folder since it was last told.
    pub(super) async fn news(&mut self, connection: &mut Connection, expunges: bool) -> io::Result<()> {
        let user = self.user().to_owned();
        let Some(selected) = &mut self.selected else { return Ok(()) };
        let present: Vec<u32> = {
            let mut store = lock(&connection.shared.store);
            let folder = store.folder(&user, &selected.folder);
            folder.map(|folder| folder.messages.iter().map(|message| message.uid).collect()).unwrap_or_default()
        };
        if expunges {
            let mut gone = 0;
            for (place, uid) in std::mem::take(&mut selected.uids).into_iter().enumerate() {
                if present.binary_search(&uid).is_ok() {
                    selected.uids.push(uid);
                } else {
                    connection.say(&format!("* {} EXPUNGE", place + 1 - gone)).await?;
                    gone += 1;
                }
            }
        }
        let last = selected.uids.last().copied().unwrap_or(0);
        let fresh: Vec<u32> = present.into_iter().filter(|uid| *uid > last).collect();
        if !fresh.is_empty() {
            selected.uids.extend(fresh);
            connection.say(&format!("* {} EXISTS", selected.uids.len())).await?;
            connection.say("* 0 RECENT").await?;
        }
        Ok(())
    }
}

/// A folder's name as an answer carries it: bare if it can be, otherwise quoted.
fn mailbox(name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.&,+".contains(&byte));
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// RFC 3501 section 6.3.8: `*` is anything, `%` anything within one level.
fn matches(name: &[u8], pattern: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((wild @ (b'*' | b'%'), rest)) => {
            let reach = if *wild == b'%' {
                name.iter().position(|byte| *byte == b'/').unwrap_or(name.len())
            } else {
                name.len()
            };
            (0..=reach).any(|skip| name.get(skip..).is_some_and(|left| matches(left, rest)))
        }
        Some((first, rest)) => {
            name.split_first().is_some_and(|(byte, left)| byte.eq_ignore_ascii_case(first) && matches(left, rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_levels() {
        assert!(matches(b"INBOX", b"inbox") && matches(b"a/b", b"*") && matches(b"Sent Items", b"%"));
        assert!(
            !matches(b"a/b", b"%") && matches(b"a/b", b"a/%") && matches(b"a/b/c", b"a*c") && !matches(b"ab", b"a")
        );
    }

    #[test]
    fn names_are_quoted_when_they_must_be() {
        assert_eq!(mailbox("INBOX"), "INBOX");
        assert_eq!(mailbox("Sent Items"), "\"Sent Items\"");
        assert_eq!(mailbox("a\"b"), "\"a\\\"b\"");
    }

    #[test]
    fn a_star_means_the_last_message_even_below_the_first_number() {
        let selected = Selected { folder: "INBOX".into(), uids: vec![2, 5, 9], read_only: false };
        assert_eq!(selected.find("1:*", false).unwrap(), [(1, 2), (2, 5), (3, 9)]);
        assert_eq!(selected.find("20:*", true).unwrap(), [(3, 9)]);
        assert_eq!(selected.find("5", true).unwrap(), [(2, 5)]);
    }
}
