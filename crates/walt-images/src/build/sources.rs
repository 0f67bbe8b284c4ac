//! Where a Dockerfile may take files from: its directory, its stages, images of this server and of registries.
//!
//! The builder runs as root, and takes other things for names of images: `dir:/any/folder`, `docker-archive:/any/file` and
//! the like, after `FROM`, in `--from=` and in `--mount=...,from=`. None of them may reach it.
//!
//! Builders read the same file differently (here-documents, double escapes, comments in the middle): what is part of an
//! instruction for us may be the start of one for them. So every line that could start one is looked at as if it did.

use std::collections::BTreeSet;
use std::ops::Range;

use super::dockerfile::{self, Instruction, Word, lines, unquoted, words};
use crate::registry::{Digest, Reference};

/// Names the builder takes for a way to an image (containers-transports(5)).
const TRANSPORTS: &[&str] = &[
    "atomic",
    "containers-storage",
    "dir",
    "docker",
    "docker-archive",
    "docker-daemon",
    "oci",
    "oci-archive",
    "ostree",
    "sif",
    "tarball",
];
/// Longest name of an instruction that is looked at, in bytes.
const LONGEST_NAME: usize = "ONBUILD".len();
/// Most lines that options of one instruction may take.
const OPTION_LINES: usize = 100;

/// What the builder does not get.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Refused {
    /// The line of the file, from 1.
    pub line: usize,
    /// Why.
    pub why: String,
}

/// Whether this names an image of a registry: `host[:port]/repository[:tag][@digest]`.
pub fn is_reference(text: &str) -> bool {
    let Some((host, rest)) = text.split_once('/') else { return false };
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let letter = |c: char| c.is_ascii_alphanumeric();
    let number =
        |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    name.starts_with(letter)
        && name.chars().all(|c| letter(c) || c == '.' || c == '-')
        && port.is_none_or(number)
        && !names_transport(text)
        && is_short(rest)
}

/// Whether this names an image without its registry: `repository[:tag][@digest]`.
fn is_short(text: &str) -> bool {
    let (name, digest) =
        text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
    name.parse::<Reference>().is_ok() && digest.is_none_or(|text| text.parse::<Digest>().is_ok())
}

fn names_transport(text: &str) -> bool {
    let before = text.split_once(':').map(|(before, _)| before.to_ascii_lowercase());
    before.is_some_and(|before| TRANSPORTS.contains(&before.as_str()))
}

/// Looks at everything but the names after `FROM`, which are to be replaced by others that are known to be good
/// ([`dockerfile::bases`], [`is_reference`]).
///
/// # Errors
/// Something could make the builder read files of the server.
pub fn check(text: &str) -> Result<(), Refused> {
    let lines = lines(text);
    let refused = |index: usize| move |why| Refused { line: index + 1, why };
    marks(text).map_err(|(index, why)| refused(index)(why.to_owned()))?;
    let escape = dockerfile::escape(text, &lines);
    let first_of = |instruction| words(instruction).first().map(|word| word.place.start);
    let starts: BTreeSet<usize> =
        dockerfile::instructions(text).iter().filter_map(first_of).collect();
    for index in 0..lines.len() {
        let (instruction, complete) = from_line(text, &lines[index..], escape);
        let words = words(&instruction);
        let Some((first, rest)) = words.split_first() else { continue };
        let Some(kind) = Kind::of(&first.text) else { continue };
        if !complete {
            return Err(refused(index)("its options take too many lines".to_owned()));
        }
        kind.check(rest, starts.contains(&first.place.start)).map_err(refused(index))?;
    }
    Ok(())
}

/// The index of a line on whose meaning builders do not agree: a byte order mark in the middle of the file, an `escape`
/// directive that is not the usual one.
fn marks(text: &str) -> Result<(), (usize, &'static str)> {
    let mut top = true;
    for (index, line) in text.split('\n').enumerate() {
        if line.strip_prefix('\u{feff}').filter(|_| index == 0).unwrap_or(line).contains('\u{feff}')
        {
            return Err((index, "a byte order mark stands at the start of a file only"));
        }
        let line = line.trim_start_matches('\u{feff}').trim();
        let Some(comment) = line.strip_prefix('#') else {
            top &= line.is_empty();
            continue;
        };
        let Some((name, value)) = comment.split_once('=').filter(|_| top) else { continue };
        let agreed = index == 0 && text.starts_with('#') && ["\\", "`"].contains(&value.trim());
        if name.trim().eq_ignore_ascii_case("escape") && !agreed {
            return Err((index, "the directive 'escape' stands in the first line, and is \\ or `"));
        }
    }
    Ok(())
}

/// The instruction that a builder could see at the first of these lines, up to where it is clear what it is, and whether
/// that is known. No builder reads lines as one that we do not.
fn from_line(text: &str, lines: &[Range<usize>], escape: char) -> (Instruction, bool) {
    let mut instruction = Instruction::new();
    let mut read = 0;
    for line in lines {
        let content = text[line.clone()].trim();
        if content.is_empty() || content.starts_with('#') {
            if read == 0 {
                break;
            }
            continue;
        }
        read += 1;
        let kept = text[line.clone()].trim_end();
        let open = kept.ends_with(escape);
        let kept = if open { &kept[..kept.len() - escape.len_utf8()] } else { kept };
        instruction.extend(kept.char_indices().map(|(at, c)| (line.start + at, c)));
        if !open || is_clear(&instruction) {
            break;
        }
        if read >= OPTION_LINES {
            return (instruction, false);
        }
    }
    (instruction, true)
}

/// Whether further lines change nothing for [`Kind::check`].
fn is_clear(instruction: &Instruction) -> bool {
    let ended = instruction.last().is_some_and(|(_, c)| c.is_whitespace());
    let words = words(instruction);
    let complete = |at: usize| at + 1 < words.len() || (at < words.len() && ended);
    let Some(at) = words.iter().position(|word| Kind::of(&word.text) != Some(Kind::OnBuild)) else {
        return false;
    };
    if words[at].text.len() > LONGEST_NAME {
        return true;
    }
    if !complete(at) {
        return false;
    }
    let option = |word: &Word| !is_option(word);
    Kind::of(&words[at].text).is_none()
        || words[at + 1..].iter().position(option).is_some_and(|next| complete(at + 1 + next))
}

fn is_option(word: &Word) -> bool {
    word.text.starts_with('-')
}

/// The instructions that take files from images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    From,
    /// Those with options: `COPY`, `ADD`, `RUN`.
    Options,
    OnBuild,
}

impl Kind {
    fn of(word: &str) -> Option<Self> {
        let known = [
            ("FROM", Self::From),
            ("COPY", Self::Options),
            ("ADD", Self::Options),
            ("RUN", Self::Options),
            ("ONBUILD", Self::OnBuild),
        ];
        known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, kind)| kind)
    }

    /// `ours`: we read an instruction there as well.
    fn check(self, words: &[Word], ours: bool) -> Result<(), String> {
        match self {
            Self::From | Self::Options => {
                let count = words.iter().take_while(|word| is_option(word)).count();
                words[..count].iter().try_for_each(option)?;
                match words.get(count).filter(|_| self == Self::From && !ours) {
                    Some(word) => hidden(&word.text),
                    None => Ok(()),
                }
            }
            Self::OnBuild => match words.split_first() {
                Some((word, rest)) => {
                    Self::of(&word.text).map_or(Ok(()), |kind| kind.check(rest, false))
                }
                None => Ok(()),
            },
        }
    }
}

/// A word that the builder may take for the name after a `FROM` we do not see.
fn hidden(word: &str) -> Result<(), String> {
    let name = unquoted(word);
    if names_transport(name) || name.contains(['$', '\\', '`', '"', '\'']) {
        return Err(format!(
            "'FROM {}' could be taken for an instruction, which would not be allowed: begin the line with another word",
            shown(name)
        ));
    }
    Ok(())
}

fn option(word: &Word) -> Result<(), String> {
    let text = &word.text;
    // The builder takes quotes and escapes out of options, wherever they stand.
    let quotes = |quote: char| text.matches(quote).count() % 2 == 1;
    if text.contains(['\\', '`']) || quotes('"') || quotes('\'') {
        return Err(format!(
            "the option {} is not understood: write it without escapes and blanks",
            shown(text)
        ));
    }
    let clean = text.replace(['"', '\''], "");
    let (name, value) = clean.split_once('=').unwrap_or((clean.as_str(), ""));
    match name.to_ascii_lowercase().as_str() {
        "--from" => source(value),
        "--mount" => value.split(',').try_for_each(|field| {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            if field.contains('$') {
                return Err(format!("no variable can stand in {}", shown(text)));
            }
            match key.trim().to_ascii_lowercase().as_str() {
                "from" => source(value),
                // It becomes a folder of the server.
                "id" if value.contains("..") || value.starts_with('/') => {
                    Err(format!("{} is no name", shown(value)))
                }
                _ => Ok(()),
            }
        }),
        _ => Ok(()),
    }
}

/// What stands after `from=`: a stage or its number, or an image.
fn source(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let stage = !name.is_empty() && name.chars().all(plain);
    if stage || is_reference(name) || (is_short(name) && !names_transport(name)) {
        return Ok(());
    }
    Err(format!(
        "files can be taken from stages and from images of registries, not from {}",
        shown(name)
    ))
}

fn shown(text: &str) -> String {
    format!("'{}'", text.chars().take(80).flat_map(char::escape_debug).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn references() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let exact = format!("quay.io/a/b:1@{digest}");
        for good in ["docker.io/a/b", "quay.io/a/b:c", "localhost/x", "host:5000/x:y", &exact] {
            assert!(is_reference(good), "{good}");
        }
        for bad in [
            "docker-archive:/etc/shadow",
            "dir:/srv/x",
            "oci:5000/x",
            "DIR:80/x",
            "docker://quay.io/a/b",
            "containers-storage:[overlay@/x]y/z",
            "containers-storage:quay.io/a",
            "tarball:/x.tar",
            "-x.y/z",
            "host:/x",
            "host:5000000/x",
            "quay.io/A",
            "quay.io/a:b:c",
            "quay.io/a@sha256:12",
            "quay.io/../a",
            "/a/b",
            "a",
            "",
        ] {
            assert!(!is_reference(bad), "{bad}");
        }
    }

    #[test]
    fn ordinary_files_pass() {
        for text in [
            "FROM a AS b\nCOPY --from=b --chown=1:2 /x /y\nCOPY --from=0 /x /y\n",
            "FROM a\nCOPY --from=alpine:3.19 /x /y\nCOPY --from=quay.io/a/b:c /x /y\n",
            "FROM a\nRUN --mount=type=cache,target=/var/cache --mount=\"type=bind,from=b,target=/x\" true\n",
            "# escape=`\nFROM a\nRUN dir c:\\ `\n  copy x y\n",
            "FROM a\nRUN git \\\n  add . && \\\n  run \\\n  from x \\\n  --prefix=/usr\\\n  --from=me@dir:x",
            "FROM a\nRUN <<END\nfrom os.path import join\nselect a\nfrom b;\nEND\nCOPY <<x /y\ndir:/z\nx\n",
            "# syntax=docker/dockerfile:1\n# FROM dir:/x\nFROM a\nRUN echo --from=dir:/x from=dir:/x\n",
            "FROM a\nADD https://host/x /y\nONBUILD COPY --from=b x y\nONBUILD RUN true",
            "",
            "\u{feff}FROM a",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn others_do_not() {
        for text in [
            "FROM a\nCOPY --from=docker-archive:/var/lib/x.tar / /\n",
            "FROM a\nCOPY --chown=1 --from=dir:/x / /\n",
            "FROM a\nCOPY --from=oci:x / /\n",
            "FROM a\nCOPY --from=\"containers-storage:[overlay@/x]y\" / /\n",
            "FROM a\nCOPY --fr\"\"om=dir:/x / /\n",
            "FROM a\nCOPY --fr\\om=dir:/x / /\n",
            "FROM a\nCOPY --from=$X / /\n",
            "FROM a\nADD --from=dir:/x / /\n",
            "FROM a\ncopy \\\n # why\n\n --from=dir:/x / /\n",
            "FROM a\nCOPY -\\\n-fro\\\nm=dir:/x / /\n",
            "FROM a\nRUN --mount=type=bind,from=dir:/x,target=/y true\n",
            "FROM a\nRUN --network=none --mount=type=bind,target=/y,FROM=oci-archive:/x true\n",
            "FROM a\nRUN --mount=\"type=bind, from=dir:/x\" true\n",
            "FROM a\nRUN --mount=type=bind,$X true\n",
            "FROM a\nRUN --mount=type=cache,id=../../etc,target=/y true\n",
            "FROM a\nONBUILD COPY --from=dir:/x / /\n",
            "FROM a\nONBUILD ONBUILD RUN --mount=from=dir:/x true\n",
            "FROM a\nONBUILD FROM dir:/x\n",
            // Instructions for other builders only.
            "FROM a\nRUN <<END\nFROM dir:/x\nEND\n",
            "FROM a\nRUN <<END\nFROM \"dir:/x\"\nEND\n",
            "ARG A=dir:/x\nFROM a\nRUN <<END\nFROM $A\nEND\n",
            "FROM a\nRUN <<END\nCOPY --from=dir:/x / /\nEND\n",
            "FROM a\nRUN true \\\\\nFROM dir:/x\n",
            "FROM a\nRUN true \\\u{a0}\nFROM dir:/x\n",
            "FROM a\nRUN true \\\n  # no comment\nFROM di\\\nr:/x\n",
            "FROM a\nCO\\\nPY\\\n --from=dir:/x / /\n",
            "FROM a\nCOPY --chown=a\u{feff}b --from=dir:/x / /\n",
            "FROM --platform=\"a b c\" dir:/x\n",
            "FROM --platform=a\\ b dir:/x\n",
            "FROM a\nRUN true \\\n\nFROM --platform=linux/arm64 dir:/x\n",
            "# syntax=x\n# escape=`\nFROM a\n",
            "# escape=`x\nFROM a\n",
            "\n# escape=`\nFROM a\n",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
        assert_eq!(
            check("FROM a\n\nCOPY --from=dir:/x / /\n").map_err(|refused| refused.to_string()),
            Err("line 3: files can be taken from stages and from images of registries, not from 'dir:/x'".into())
        );
    }

    #[test]
    fn a_large_file_is_read_in_time() {
        let before = std::time::Instant::now();
        assert!(check(&"RUN --a\\\n".repeat(100_000)).is_err());
        assert_eq!(check(&"RUN a \\\n".repeat(100_000)), Ok(()));
        assert!(before.elapsed() < std::time::Duration::from_secs(20));
    }

    proptest! {
        #[test]
        fn no_panic(text in "((FROM|COPY|RUN|ONBUILD|#|escape=|<<E|E|--from=|--mount=|dir:/x|\\$A|\\\\|`|\"|é|\u{feff}|\r)( |\t|\n|)){0,40}") {
            let _ = check(&text);
        }
    }
}
