//! Where a list of capabilities begins, and that no word of it costs more than its bound.

use super::*;

#[test]
fn list_is_found_where_servers_have_one_and_nowhere_else() {
    for (line, at, is_code) in [
        ("* CAPABILITY ", 12, false),
        ("* capability\r\n", 12, false),
        ("  *  CAPABILITY IDLE", 15, false),
        ("a OK [CAPABILITY ", 16, true),
        ("a no [capability\r", 16, true),
        ("* BAD [CAPABILITY IDLE", 17, true),
        ("* PREAUTH  [CAPABILITY IDLE", 22, true),
        ("* BYE [CAPABILITY IDLE", 17, true),
        ("[CAPABILITY IDLE", 11, true),
    ] {
        let bytes = line.as_bytes();
        assert_eq!(look(bytes), Look::CapabilityList { at, is_code }, "{line:?}");
        for end in 1..at {
            assert_eq!(look(&bytes[..end]), Look::NeedsMore, "{end} of {line:?}");
        }
    }
    for line in [
        "+ ",
        "+\r\n",
        "+ OK [CAPABILITY IDLE",
        "\u{1}",
        "a\u{fc}",
        "\r\n",
        "*\r\n",
        "* X",
        "* 3",
        "* CAPABILITYX",
        "a C",
        "a CAPABILITY IDLE",
        "a X",
        "a OKX",
        "a OKX [CAPABILITY IDLE",
        "a OK x [CAPABILITY IDLE",
        "a OK [CAPABILITYX",
        "a OK [READ",
        "* O [CAPABILITY IDLE",
        "[ALERT",
        "[CAPABILITYX",
    ] {
        assert_eq!(look(line.as_bytes()), Look::Plain, "{line:?}");
    }
    // It may begin a word that is no continuation.
    assert_eq!(look(b"+"), Look::NeedsMore);
}

#[test]
fn long_word_is_decided_by_its_beginning_and_held_no_further() {
    for (word, is_shown) in [("X", true), ("AUTH=", false)] {
        let long = format!("{word}{}", "x".repeat(1000));
        let (mut list, mut out) = (CapabilityList::new(false), Vec::new());
        for byte in format!(" IDLE {long}").bytes() {
            list.pass(&[byte], &mut out);
            assert!(list.held() <= 2 * WORD_LIMIT, "{}", list.held());
        }
        let so_far = if is_shown { format!(" IDLE {long}") } else { " IDLE".to_owned() };
        assert_eq!(String::from_utf8(out.clone()).unwrap(), so_far, "before the word has ended");
        list.pass(b" ID\r\n", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{so_far} ID\r\n"));
    }
    // With the blank before it: the last byte decides.
    let (mut list, mut out) = (CapabilityList::new(false), Vec::new());
    list.pass(format!(" {}", "x".repeat(WORD_LIMIT - 1)).as_bytes(), &mut out);
    assert_eq!((list.held() >= WORD_LIMIT, out.len()), (true, 0));
    list.pass(b"x", &mut out);
    assert_eq!((list.held(), out.len()), (0, WORD_LIMIT + 1));
}
