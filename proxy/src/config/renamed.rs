//! Keys that have another name now. A file that still has the old one is refused with the new name.

/// Each old key and its new name.
pub(super) const RENAMED: [(&str, &str); 9] = [
    // Sections.
    ("wrong-passwords", "login-throttle"),
    // [login-throttle]
    ("forgive", "decay-interval"),
    ("never-ban", "exempt-networks"),
    // [limits]
    ("unauthenticated", "max-unauthenticated"),
    ("unauthenticated-per-source", "max-unauthenticated-per-source"),
    ("password-checks", "concurrent-password-checks"),
    ("sending-wait", "send-slot-timeout"),
    // `sending` of a [[provider]]
    ("at-once", "max-connections"),
    // [[account]]
    ("through", "delegate"),
];

/// The new name of a key, if it was renamed in a section with these known keys.
pub(super) fn new_name(key: &str, known: &[String]) -> Option<&'static str> {
    let (_, new) = RENAMED.iter().find(|(old, _)| *old == key)?;
    known.iter().any(|known| known == new).then_some(*new)
}
