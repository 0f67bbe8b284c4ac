//! Sentences about several things at once: "Nodes a, b and c are booted."

/// How many names are still listed; more are counted.
const MAX_LISTED: usize = 5;

/// `node n1`; `nodes n1, n2 and n3` (sorted); `7 nodes`. The plural is the noun followed by `s`
/// (`es` after `ch`); a noun may be several words (`virtual node`).
pub fn list<S: AsRef<str>>(noun: &str, names: &[S]) -> String {
    let plural = if noun.ends_with("ch") { format!("{noun}es") } else { format!("{noun}s") };
    let mut sorted: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    sorted.sort_unstable();
    match sorted.as_slice() {
        [] => format!("no {noun}"),
        [one] => format!("{noun} {one}"),
        [init @ .., last] if sorted.len() <= MAX_LISTED => {
            format!("{plural} {} and {last}", init.join(", "))
        }
        many => format!("{} {plural}", many.len()),
    }
}

/// Upper-cases the first letter of a text.
pub fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// A sentence about things. In `template`, `{}` is replaced by [`list`], `{one|many}` by the first text
/// for one thing and by the second for several. The first letter is upper-cased and all other fixed
/// text lower-cased, as users and their scripts know it; names keep their case.
///
/// ```
/// use walt_model::sentence::sentence;
/// assert_eq!(sentence("{}: rebooted OK.", "node", &["N1"]), "Node N1: rebooted ok.");
/// assert_eq!(sentence("{} {is|are} free.", "node", &["a", "b"]), "Nodes a and b are free.");
/// ```
pub fn sentence<S: AsRef<str>>(template: &str, noun: &str, names: &[S]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (fixed, after) = rest.split_at(open);
        out.push_str(&fixed.to_lowercase());
        let Some(close) = after.find('}') else {
            rest = after;
            break;
        };
        let inside = &after[1..close];
        match inside.split_once('|') {
            None => out.push_str(&list(noun, names)),
            Some((one, many)) => {
                out.push_str(&(if names.len() == 1 { one } else { many }).to_lowercase())
            }
        }
        rest = &after[close + 1..];
    }
    out.push_str(&rest.to_lowercase());
    capitalised(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(list("node", &["b"]), "node b");
        assert_eq!(list("node", &["b", "a"]), "nodes a and b");
        assert_eq!(list("switch", &["c", "b", "a"]), "switches a, b and c");
        assert_eq!(list("node", &["e", "d", "c", "b", "a"]), "nodes a, b, c, d and e");
        assert_eq!(list("node", &["1", "2", "3", "4", "5", "6", "7"]), "7 nodes");
    }

    #[test]
    fn sentences() {
        assert_eq!(
            sentence("{} {is|are} not {a walt node|walt nodes}.", "Device", &["X"]),
            "Device X is not a walt node."
        );
        assert_eq!(
            sentence("Warning: {} {seems|seem} to be used by another user.", "node", &["a", "b"]),
            "Warning: nodes a and b seem to be used by another user."
        );
        assert_eq!(sentence("oops {", "node", &["a"]), "Oops {");
        assert_eq!(capitalised(""), "");
    }
}
