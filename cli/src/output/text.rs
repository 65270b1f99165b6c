//! Text from the cluster, made safe to print. Names in Kubernetes are ASCII; whatever else arrives (control
//! characters, escape sequences, characters that change the direction of writing) is shown as `\u{…}`.

use std::fmt::Write as _;

/// `text` in printable ASCII on one line.
pub(crate) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => clean.push(c),
            _ => clean.extend(c.escape_unicode()),
        }
    }
    clean
}

/// A sentence for people on one line: other scripts stay, what moves the cursor or the direction does not.
pub(crate) fn clean_line(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => clean.push(' '),
            _ if is_unsafe(c) => clean.extend(c.escape_unicode()),
            _ => clean.push(c),
        }
    }
    clean
}

/// JSON with every character that a terminal could take for a command written as `\uXXXX`. Outside of strings JSON
/// has none of them.
pub(crate) fn clean_json(json: &str) -> String {
    let mut clean = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(clean, "\\u{unit:04x}");
            }
        } else {
            clean.push(c);
        }
    }
    clean
}

/// Control characters, and format characters that hide or reorder others.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_the_cursor_or_the_direction_gets_through() {
        let hostile = "web\u{1b}[2J\u{9b}A\u{202e}\r\n\u{7f}\u{e0041}";
        for clean in [clean(hostile), clean_line(hostile), clean_json(hostile).replace('\n', "")] {
            assert!(!clean.chars().any(is_unsafe), "{clean:?}");
            assert!(clean.starts_with("web"));
        }
        assert_eq!(clean("caf\u{e9} \u{1b}[0m"), "caf\\u{e9} \\u{1b}[0m");
        assert_eq!(clean_line("caf\u{e9} \u{221a}"), "caf\u{e9} \u{221a}");
    }

    #[test]
    fn json_means_the_same_after_cleaning() {
        let value = serde_json::json!({"a\u{85}b": "x\u{202e}\u{e0041}\u{7f} \u{e9}"});
        let json = clean_json(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
        assert!(json.contains("\\udb40\\udc41"));
    }
}
