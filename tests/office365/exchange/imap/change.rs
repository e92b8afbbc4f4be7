//! The commands that change a folder: STORE, COPY, MOVE (RFC 6851), EXPUNGE, APPEND, with the codes of UIDPLUS (RFC 4315).

use std::sync::Arc;

use super::super::connection::Connection;
use super::folders::Selected;
use super::parse::{Command, Set, compressed};
use super::{Answer, Bad, OrBad as _, Session};
use crate::office365::lock;
use crate::office365::mailbox::{Message, folder_name};

const NO_FOLDER: Bad = Bad::No("[TRYCREATE] The requested folder doesn't exist.");

impl Session {
    pub(super) async fn change(&mut self, connection: &mut Connection, command: &mut Command) -> Answer {
        let verb = command.verb.clone();
        let (by_uid, plain) = verb.strip_prefix("UID ").map_or((false, verb.as_str()), |plain| (true, plain));
        if plain == "APPEND" {
            return self.append(connection, command);
        }
        let selected = self.selected.as_ref().ok_or(Bad::State)?;
        if selected.read_only && plain != "COPY" {
            return Err(Bad::No("The folder is open for reading only."));
        }
        if plain == "EXPUNGE" && !by_uid {
            return self.expunge(connection, selected, None);
        }
        command.space().or_bad()?;
        let set = command.atom().or_bad()?;
        if plain == "EXPUNGE" {
            let greatest = selected.uids.last().copied().unwrap_or(0);
            return self.expunge(connection, selected, Some(&Set::read(&set, greatest).or_bad()?));
        }
        let wanted = selected.find(&set, by_uid).or_bad()?;
        command.space().or_bad()?;
        if plain == "STORE" {
            return self.store(connection, selected, command, &wanted, by_uid).await;
        }
        let target = folder_name(&command.string().or_bad()?);
        let uids: Vec<u32> = wanted.iter().map(|(_, uid)| *uid).collect();
        let code = self.copy(connection, selected, &uids, &target, plain == "MOVE")?;
        if plain == "MOVE" && !code.is_empty() {
            connection.say(&format!("* OK [{code}]")).await?;
            return Ok("OK MOVE completed.".to_owned());
        }
        Ok(if code.is_empty() { format!("OK {plain} completed.") } else { format!("OK [{code}] {plain} completed.") })
    }

    async fn store(
        &self,
        connection: &mut Connection,
        selected: &Selected,
        command: &mut Command,
        wanted: &[(usize, u32)],
        by_uid: bool,
    ) -> Answer {
        let item = command.atom().or_bad()?.to_ascii_uppercase();
        command.space().or_bad()?;
        let flags = command.list(Command::atom).or_bad()?;
        let (name, silent) = item.strip_suffix(".SILENT").map_or((item.as_str(), false), |name| (name, true));
        if !matches!(name, "FLAGS" | "+FLAGS" | "-FLAGS") {
            return Err(Bad::Argument);
        }
        for (number, uid) in wanted {
            let now = {
                let mut store = lock(&connection.shared.store);
                let folder = store.folder(self.user(), &selected.folder);
                let Some(message) = folder.and_then(|folder| folder.message_mut(*uid)) else { continue };
                if name == "FLAGS" {
                    message.flags.clear();
                }
                for flag in &flags {
                    if name == "-FLAGS" { message.clear(flag) } else { message.set(flag) }
                }
                message.flags.join(" ")
            };
            if !silent {
                let uid = if by_uid { format!("UID {uid} ") } else { String::new() };
                connection.say(&format!("* {number} FETCH ({uid}FLAGS ({now}))")).await?;
            }
        }
        Ok("OK STORE completed.".to_owned())
    }

    /// Copies, and takes away what was moved; the COPYUID code, if anything was copied.
    fn copy(
        &self,
        connection: &Connection,
        selected: &Selected,
        uids: &[u32],
        target: &str,
        moving: bool,
    ) -> Result<String, Bad> {
        let mut store = lock(&connection.shared.store);
        let source = store.folder(self.user(), &selected.folder).ok_or(NO_FOLDER)?;
        let copied: Vec<Message> = uids.iter().filter_map(|uid| source.message(*uid).cloned()).collect();
        let folder = store.folder(self.user(), target).ok_or(NO_FOLDER)?;
        let new: Vec<u32> = copied
            .iter()
            .map(|message| folder.add(Arc::clone(&message.bytes), message.flags.clone(), message.received))
            .collect();
        let uid_validity = folder.uid_validity;
        let old: Vec<u32> = copied.iter().map(|message| message.uid).collect();
        if moving && let Some(source) = store.folder(self.user(), &selected.folder) {
            source.messages.retain(|message| !old.contains(&message.uid));
        }
        store.changed();
        if old.is_empty() {
            return Ok(String::new());
        }
        Ok(format!("COPYUID {uid_validity} {} {}", compressed(&old), compressed(&new)))
    }

    /// What is gone is sent to the client as news, with the rest.
    fn expunge(&self, connection: &Connection, selected: &Selected, only: Option<&Set>) -> Answer {
        let mut store = lock(&connection.shared.store);
        if let Some(folder) = store.folder(self.user(), &selected.folder) {
            let goes = |message: &Message| message.has("\\Deleted") && only.is_none_or(|set| set.contains(message.uid));
            folder.messages.retain(|message| !goes(message));
        }
        store.changed();
        Ok("OK EXPUNGE completed.".to_owned())
    }

    fn append(&self, connection: &Connection, command: &mut Command) -> Answer {
        command.space().or_bad()?;
        let name = folder_name(&command.string().or_bad()?);
        command.space().or_bad()?;
        let mut flags = Vec::new();
        if command.next_is(b'(') {
            flags = command.list(Command::atom).or_bad()?;
            command.space().or_bad()?;
        }
        if command.next_is(b'"') {
            // The date is read over: Exchange keeps it, and nothing here depends on it.
            command.astring().or_bad()?;
            command.space().or_bad()?;
        }
        let bytes = command.astring().or_bad()?;
        command.end().or_bad()?;
        let now = connection.shared.clock.now();
        let mut store = lock(&connection.shared.store);
        let folder = store.folder(self.user(), &name).ok_or(NO_FOLDER)?;
        let uid = folder.add(Arc::from(bytes), flags, now);
        let uid_validity = folder.uid_validity;
        store.changed();
        Ok(format!("OK [APPENDUID {uid_validity} {uid}] APPEND completed."))
    }
}
