//! Topics as HTML, for the web pages of the server.

use crate::{Topic, topic_of_link};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, html};

/// The body of a page: HTML without `<html>`, `<head>` and `<body>`. Links to topics become `<prefix><topic>.html`;
/// raw HTML of the source is shown as text.
pub fn body(topic: &Topic, prefix: &str) -> String {
    let events = Parser::new_ext(topic.source, Options::ENABLE_TABLES).map(|event| match event {
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let dest_url = match topic_of_link(&dest_url) {
                Some(name) => CowStr::from(format!("{prefix}{name}.html")),
                None => dest_url,
            };
            Event::Start(Tag::Link { link_type, dest_url, title, id })
        }
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        other => other,
    });
    let mut out = String::with_capacity(topic.source.len() * 3 / 2);
    html::push_html(&mut out, events);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_raw_html() {
        let topic = Topic { name: "t", source: "# T\n\n[a](b.md) <script>x</script>\n" };
        let page = body(&topic, "/doc/");
        assert!(page.contains("<h1>T</h1>"), "{page}");
        assert!(page.contains(r#"<a href="/doc/b.html">a</a>"#), "{page}");
        assert!(page.contains("&lt;script&gt;"), "{page}");
    }
}
