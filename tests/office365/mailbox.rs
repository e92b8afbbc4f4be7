//! The messages: folders with their UIDs, kept in memory as the bytes that were delivered.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

/// The first UIDVALIDITY given; each new folder gets the next one.
const FIRST_UID_VALIDITY: u32 = 14;

/// One message in a folder.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) uid: u32,
    pub(super) flags: Vec<String>,
    pub(super) received: SystemTime,
    pub(super) bytes: Arc<[u8]>,
}

impl Message {
    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|held| held.eq_ignore_ascii_case(flag))
    }

    pub(super) fn set(&mut self, flag: &str) {
        if !self.has(flag) {
            self.flags.push(flag.to_owned());
        }
    }

    pub(super) fn clear(&mut self, flag: &str) {
        self.flags.retain(|held| !held.eq_ignore_ascii_case(flag));
    }
}

/// One folder; its messages are in the order of their UIDs.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) uid_validity: u32,
    pub(super) uid_next: u32,
    pub(super) subscribed: bool,
    pub(super) messages: Vec<Message>,
}

impl Folder {
    pub(super) fn message(&self, uid: u32) -> Option<&Message> {
        self.position(uid).and_then(|at| self.messages.get(at))
    }

    pub(super) fn message_mut(&mut self, uid: u32) -> Option<&mut Message> {
        self.position(uid).and_then(|at| self.messages.get_mut(at))
    }

    pub(super) fn add(&mut self, bytes: Arc<[u8]>, flags: Vec<String>, received: SystemTime) -> u32 {
        let uid = self.uid_next;
        self.uid_next += 1;
        self.messages.push(Message { uid, flags, received, bytes });
        uid
    }

    fn position(&self, uid: u32) -> Option<usize> {
        self.messages.binary_search_by_key(&uid, |message| message.uid).ok()
    }
}

/// The folders of one mailbox by name; `INBOX` is written in capitals.
pub(super) type Folders = BTreeMap<String, Folder>;

/// All mailboxes, by address in lower case.
#[derive(Debug)]
pub(super) struct Store {
    mailboxes: HashMap<String, Folders>,
    next_uid_validity: u32,
    changes: watch::Sender<u64>,
}

impl Default for Store {
    fn default() -> Self {
        Self { mailboxes: HashMap::new(), next_uid_validity: FIRST_UID_VALIDITY, changes: watch::Sender::new(0) }
    }
}

impl Store {
    pub(super) fn open(&mut self, address: &str) -> &mut Folders {
        let address = address.to_lowercase();
        if !self.mailboxes.contains_key(&address) {
            let mut folders = Folders::new();
            for name in ["INBOX", "Drafts", "Sent Items", "Deleted Items", "Junk Email"] {
                folders.insert(name.to_owned(), self.new_folder());
            }
            self.mailboxes.insert(address.clone(), folders);
        }
        self.mailboxes.entry(address).or_default()
    }

    pub(super) fn new_folder(&mut self) -> Folder {
        let uid_validity = self.next_uid_validity;
        self.next_uid_validity += 1;
        Folder { uid_validity, uid_next: 1, subscribed: true, messages: Vec::new() }
    }

    pub(super) fn folder(&mut self, address: &str, name: &str) -> Option<&mut Folder> {
        self.open(address).get_mut(name)
    }

    pub(super) fn create(&mut self, address: &str, name: &str) -> bool {
        let folder = self.new_folder();
        let folders = self.open(address);
        if folders.contains_key(name) {
            return false;
        }
        folders.insert(name.to_owned(), folder);
        true
    }

    pub(super) fn deliver(&mut self, address: &str, folder: &str, bytes: &Arc<[u8]>, received: SystemTime) {
        self.create(address, folder);
        if let Some(folder) = self.folder(address, folder) {
            folder.add(Arc::clone(bytes), Vec::new(), received);
        }
        self.changed();
    }

    /// The mailbox has another address from now on.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if let Some(folders) = self.mailboxes.remove(&from.to_lowercase()) {
            self.mailboxes.insert(to.to_lowercase(), folders);
        }
    }

    /// Gives a folder a new UIDVALIDITY and its messages new UIDs, as the move of a mailbox may.
    pub(super) fn renumber(&mut self, address: &str, name: &str) {
        let fresh = self.new_folder();
        if let Some(folder) = self.folder(address, name) {
            folder.uid_validity = fresh.uid_validity;
            folder.uid_next = 1;
            for message in &mut folder.messages {
                message.uid = folder.uid_next;
                folder.uid_next += 1;
            }
        }
        self.changed();
    }

    /// Tells sessions in IDLE that there may be news.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// A folder's name as it is stored: `INBOX` in any case is one folder.
pub(super) fn folder_name(name: &str) -> String {
    let name = name.trim_end_matches('/');
    if name.eq_ignore_ascii_case("INBOX") { "INBOX".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_rise_and_are_never_used_again() {
        let mut store = Store::default();
        let now = SystemTime::now();
        for body in ["one", "two", "three"] {
            store.deliver("Alice@contoso.com", "INBOX", &Arc::from(body.as_bytes()), now);
        }
        let inbox = store.folder("alice@contoso.com", "INBOX").unwrap();
        assert_eq!(inbox.messages.iter().map(|message| message.uid).collect::<Vec<_>>(), [1, 2, 3]);
        inbox.messages.retain(|message| message.uid != 3);
        assert_eq!(inbox.add(Arc::from(b"four".as_slice()), Vec::new(), now), 4);
        assert_eq!(inbox.message(4).unwrap().bytes.as_ref(), b"four");
        assert!(inbox.message(3).is_none());
        let validity = inbox.uid_validity;
        store.renumber("alice@contoso.com", "INBOX");
        let inbox = store.folder("alice@contoso.com", "INBOX").unwrap();
        assert_ne!(inbox.uid_validity, validity);
        assert_eq!(inbox.message(3).unwrap().bytes.as_ref(), b"four");
    }
}
