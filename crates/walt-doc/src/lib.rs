//! Documentation topics, rendered in a terminal or as HTML.
//!
//! A topic is one file of `docs/`; its name is the file name without `.md`, its title the first line without `#`.
//! All topics are embedded, so that `walt help` works without server, files or network.

pub mod html;
pub mod terminal;

/// A documentation topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// Its name, as in `walt help show <name>`.
    pub name: &'static str,
    /// Its Markdown source.
    pub source: &'static str,
}

impl Topic {
    /// The first heading, without Markdown marks.
    pub fn title(&self) -> String {
        let line = self.source.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        line.trim_start_matches('#').trim().replace('`', "")
    }
}

/// The topic shown when none is asked for.
pub const INTRODUCTION: &str = "help-intro";

static TOPICS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/topics.rs"));

/// All topics, sorted by name.
pub fn topics() -> impl Iterator<Item = Topic> {
    TOPICS.iter().map(|&(name, source)| Topic { name, source })
}

/// The topic of that name.
pub fn topic(name: &str) -> Option<Topic> {
    topics().find(|topic| topic.name == name)
}

/// The topic a link leads to: `node-cp.md`, `node-cp.md#section`.
pub fn topic_of_link(target: &str) -> Option<&str> {
    let name = target.split('#').next()?.strip_suffix(".md")?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulldown_cmark::{Event, HeadingLevel, Parser, Tag};

    #[test]
    fn topics_are_well_formed() {
        for topic in topics() {
            let name = topic.name;
            assert!(topic.source.starts_with("# "), "{name}: the first line is its title");
            let title = topic.title();
            assert!(title.starts_with(char::is_uppercase), "{name}: title {title:?}");
            let headings = Parser::new(topic.source).filter_map(|event| match event {
                Event::Start(Tag::Heading { level, .. }) => Some(level),
                _ => None,
            });
            for (index, level) in headings.enumerate() {
                let fits = if index == 0 {
                    level == HeadingLevel::H1
                } else {
                    matches!(level, HeadingLevel::H2 | HeadingLevel::H3)
                };
                assert!(fits, "{name}: heading {} has level {level}", index + 1);
            }
        }
    }

    #[test]
    fn links_lead_somewhere() {
        let index = include_str!("../../../docs/README.md");
        let sources = topics().map(|topic| (topic.name, topic.source));
        for (name, source) in sources.chain([("README", index)]) {
            for event in Parser::new(source) {
                if let Event::Start(Tag::Link { dest_url, .. }) = event
                    && let Some(target) = topic_of_link(&dest_url)
                {
                    assert!(topic(target).is_some(), "{name}: no topic {target}");
                }
            }
        }
    }

    #[test]
    fn the_index_has_every_topic() {
        let index = include_str!("../../../docs/README.md");
        for topic in topics() {
            assert!(index.contains(&format!("({}.md)", topic.name)), "{} is missing", topic.name);
        }
    }

    #[test]
    fn link_targets() {
        assert_eq!(topic_of_link("node-cp.md"), Some("node-cp"));
        assert_eq!(topic_of_link("node-cp.md#x"), Some("node-cp"));
        assert_eq!(topic_of_link("../README.md"), None);
        assert_eq!(topic_of_link("https://example.org/"), None);
    }
}
