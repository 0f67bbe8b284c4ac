//! What a registry asks for when it answers 401: the header `WWW-Authenticate` (RFC 9110 11.6.1; realm, service and scope as
//! in the distribution project's token specification).

/// Longest header read.
const HEADER_MAX: usize = 4096;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token that another address gives.
    Bearer {
        /// URL of that address.
        realm: String,
        /// What to ask it for.
        service: Option<String>,
        /// For which rights.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The first challenge of these headers that we know how to answer.
    pub fn from_headers<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        headers.into_iter().find_map(|header| {
            let text = std::str::from_utf8(header).ok().filter(|text| text.len() <= HEADER_MAX)?;
            Self::from_header(text)
        })
    }

    fn from_header(text: &str) -> Option<Self> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        for (name, value) in parameters(rest)? {
            let slot = match name.to_ascii_lowercase().as_str() {
                "realm" => &mut realm,
                "service" => &mut service,
                "scope" => &mut scope,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                // Said twice: which one counts is not ours to guess.
                return None;
            }
        }
        Some(Self::Bearer { realm: realm?, service, scope })
    }
}

/// `name="value"` or `name=token`, with commas between them. `None` when the text is not of this form.
fn parameters(text: &str) -> Option<Vec<(&str, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        {
            return None;
        }
        let after = after.trim_start();
        let value;
        if let Some(quoted) = after.strip_prefix('"') {
            let mut text = String::new();
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next()? {
                    (at, '"') => break at + 1,
                    (_, '\\') => text.push(chars.next()?.1),
                    (_, c) if c.is_control() => return None,
                    (_, c) => text.push(c),
                }
            };
            value = text;
            rest = &quoted[end..];
        } else {
            let end = after.find([',', ' ', '"']).unwrap_or(after.len());
            value = after[..end].to_owned();
            rest = &after[end..];
        }
        found.push((name, value));
        rest = rest.trim_start();
        if !rest.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start();
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn challenges() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(
            Challenge::from_header(hub).unwrap(),
            Challenge::Bearer {
                realm: "https://auth.docker.io/token".into(),
                service: Some("registry.docker.io".into()),
                scope: Some("repository:a/b:pull,push".into()),
            }
        );
        assert_eq!(Challenge::from_header("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(Challenge::from_header("basic"), Some(Challenge::Basic));
        let headers: [&[u8]; 2] = [b"Negotiate", b"BEARER realm=http://x/y, error=\"a\\\"b\""];
        assert_eq!(
            Challenge::from_headers(headers).unwrap(),
            Challenge::Bearer { realm: "http://x/y".into(), service: None, scope: None }
        );
        for bad in [
            "",
            "Digest realm=\"x\"",
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"x",
            "Bearer realm=\"x\" service=\"y\"",
            "Bearer realm=\"x\",realm=\"y\"",
            "Bearer realm=\"x\",=\"y\"",
            "Bearer realm",
        ] {
            assert_eq!(Challenge::from_header(bad), None, "{bad}");
        }
    }
}
