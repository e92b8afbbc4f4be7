//! Colours for a terminal. Text is always written with them; `anstream` removes them where the output is no terminal or `NO_COLOR`
//! is set (<https://no-color.org>), and translates them for old Windows consoles.

use anstyle::{AnsiColor, Style};

/// It works.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();

/// It works, and something has to be done soon or is tried again.
pub(super) const WARNING: Style = AnsiColor::Yellow.on_default();

/// It does not work.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();

/// The text in a style.
pub(super) fn styled(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}
