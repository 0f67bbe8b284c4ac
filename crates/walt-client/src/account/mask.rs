//! How `~/.walt/config` shows passwords: not as they are. It protects from a glance at the screen only; the
//! protection of the file is its mode.

/// What the original mixes in.
const MASK: &[u8; 32] = b"RAND0M STRING T0 HIDE A PASSW0RD";

/// Text to hexadecimal.
pub fn mask(text: &str) -> String {
    mixed(text.as_bytes()).map(|byte| format!("{byte:02x}")).collect()
}

/// Hexadecimal to text; nothing when it is something else.
pub fn unmask(masked: &str) -> Option<String> {
    let digits = masked.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> =
        digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    String::from_utf8(mixed(&bytes?).collect()).ok()
}

fn mixed(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn as_the_original_does() {
        assert_eq!(mask("p"), "22");
        assert_eq!(mask("secret"), "21242d365539");
        assert_eq!(unmask("21242D365539").unwrap(), "secret");
        let long = "é".repeat(40);
        assert_eq!(unmask(&mask(&long)).unwrap(), long);
        for wrong in ["2", "zz", "+1", "secret"] {
            assert_eq!(unmask(wrong), None, "{wrong}");
        }
    }
}
