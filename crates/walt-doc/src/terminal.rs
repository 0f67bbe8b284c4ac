//! Topics laid out for a terminal: lines of styled pieces, and the links among topics.

use crate::topic_of_link;
use pulldown_cmark::{Alignment, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// How a piece of text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// Strong.
    Bold,
    /// Emphasis.
    Dim,
    /// A heading.
    Heading,
    /// Code, in a line or in a block.
    Code,
    /// An address outside the documentation.
    Address,
    /// A link to a topic: index in [`Page::links`].
    Link(usize),
}

/// Pieces of a line.
pub type Line = Vec<(Style, String)>;

/// A topic laid out for a width.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Lines from top to bottom.
    pub lines: Vec<Line>,
    /// Links to topics, in reading order.
    pub links: Vec<Link>,
}

/// A link to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Name of the topic.
    pub topic: String,
    /// Line it starts on.
    pub line: usize,
}

/// Lays a Markdown text out in lines of at most `width` columns (code and tables may be wider).
pub fn lay_out(source: &str, width: usize) -> Page {
    let mut layout = Layout { width: width.max(20), ..Layout::default() };
    for event in Parser::new_ext(source, Options::ENABLE_TABLES) {
        layout.take(event);
    }
    layout.page
}

#[derive(Default)]
struct Layout {
    page: Page,
    width: usize,
    /// Styled words of the paragraph being read; an empty text is a forced line break.
    words: Vec<(Style, String)>,
    /// Whether the next text continues the last word.
    glued: bool,
    styles: Vec<Style>,
    heading: Option<HeadingLevel>,
    /// Numbers of the next items of the lists we are in; none: bullets.
    lists: Vec<Option<u64>>,
    /// Mark to put before the first line of an item.
    mark: Option<String>,
    quotes: usize,
    code_block: bool,
    address: Option<String>,
    table: Table,
}

#[derive(Default)]
struct Table {
    alignments: Vec<Alignment>,
    rows: Vec<Vec<Vec<(Style, String)>>>,
    inside: bool,
}

impl Layout {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.code_block => {
                for line in text.lines() {
                    let indent = self.indent();
                    let code = format!(" {line} ");
                    self.page.lines.push(vec![(Style::Plain, indent), (Style::Code, code)]);
                }
            }
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            // Not broken across lines: blanks of code are part of its word.
            Event::Code(text) => self.word(Style::Code, &text),
            Event::SoftBreak => self.glued = false,
            Event::HardBreak => self.words.push((Style::Plain, String::new())),
            Event::Rule => {
                let rule = "─".repeat(self.width);
                self.page.lines.push(vec![(Style::Dim, rule)]);
                self.blank();
            }
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => {
                self.heading = Some(level);
                self.styles.push(Style::Heading);
                let marks = "#".repeat(level as usize);
                self.words.push((Style::Heading, marks));
            }
            Tag::Strong => self.styles.push(Style::Bold),
            Tag::Emphasis => self.styles.push(Style::Dim),
            Tag::Link { dest_url, .. } => match topic_of_link(&dest_url) {
                Some(topic) => {
                    let index = self.page.links.len();
                    self.page.links.push(Link { topic: topic.to_owned(), line: 0 });
                    self.styles.push(Style::Link(index));
                }
                None => {
                    self.address = Some(dest_url.into_string());
                    self.styles.push(Style::Plain);
                }
            },
            Tag::List(first) => {
                self.paragraph();
                self.lists.push(first);
            }
            Tag::Item => {
                self.mark = Some(match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    _ => "• ".to_owned(),
                });
            }
            Tag::BlockQuote(_) => self.quotes += 1,
            Tag::CodeBlock(_) => self.code_block = true,
            Tag::Table(alignments) => {
                self.table = Table { alignments, rows: Vec::new(), inside: true };
            }
            Tag::TableHead | Tag::TableRow => self.table.rows.push(Vec::new()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph => {
                self.paragraph();
                self.blank();
            }
            TagEnd::Heading(_) => {
                self.styles.pop();
                self.paragraph();
                self.heading = None;
                self.blank();
            }
            TagEnd::Strong | TagEnd::Emphasis => {
                self.styles.pop();
            }
            TagEnd::Link => {
                self.styles.pop();
                if let Some(address) = self.address.take() {
                    self.glued = false;
                    self.word(Style::Address, &format!("({address})"));
                }
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.blank();
            }
            TagEnd::Item => self.paragraph(),
            TagEnd::BlockQuote(_) => self.quotes = self.quotes.saturating_sub(1),
            TagEnd::CodeBlock => {
                self.code_block = false;
                self.blank();
            }
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.words);
                self.glued = false;
                if let Some(row) = self.table.rows.last_mut() {
                    row.push(cell);
                }
            }
            TagEnd::Table => {
                self.table();
                self.blank();
            }
            _ => {}
        }
    }

    fn style(&self) -> Style {
        self.styles.last().copied().unwrap_or(Style::Plain)
    }

    fn text(&mut self, text: &str) {
        let style = self.style();
        if text.starts_with(char::is_whitespace) {
            self.glued = false;
        }
        for word in text.split_whitespace() {
            self.word(style, word);
            self.glued = false;
        }
        self.glued = !text.ends_with(char::is_whitespace);
    }

    fn word(&mut self, style: Style, word: &str) {
        let style = match (style, self.style()) {
            (Style::Code, Style::Link(index)) => Style::Link(index),
            (style, _) => style,
        };
        if self.glued && !self.words.is_empty() {
            // A zero-width joint, see `fill`.
            self.words.push((Style::Plain, "\u{2060}".to_owned()));
        }
        self.words.push((style, word.to_owned()));
        self.glued = true;
    }

    fn indent(&self) -> String {
        let mut indent = " ".repeat(2 * self.lists.len());
        indent.push_str(&"│ ".repeat(self.quotes));
        indent
    }

    fn blank(&mut self) {
        if self.page.lines.last().is_some_and(|line| !line.is_empty()) && self.lists.is_empty() {
            self.page.lines.push(Vec::new());
        }
    }

    /// Lays the words read so far out in lines.
    fn paragraph(&mut self) {
        self.glued = false;
        if self.words.is_empty() {
            return;
        }
        let indent = self.indent();
        let first = match self.mark.take() {
            Some(mark) => {
                let kept = indent.chars().count().saturating_sub(mark.chars().count());
                let start: String = indent.chars().take(kept).collect();
                format!("{start}{mark}")
            }
            None => indent.clone(),
        };
        let mut line: Line = vec![(Style::Plain, first.clone())];
        let mut column = first.chars().count();
        let mut empty = true;
        for chunk in chunks(std::mem::take(&mut self.words)) {
            let length: usize = chunk.iter().map(|(_, text)| text.chars().count()).sum();
            let forced = length == 0;
            if !empty && (forced || column + 1 + length > self.width) {
                self.page.lines.push(std::mem::take(&mut line));
                line.push((Style::Plain, indent.clone()));
                column = indent.chars().count();
                empty = true;
            }
            if forced {
                continue;
            }
            if !empty {
                let inside = line.last().map(|(style, _)| *style);
                let same =
                    inside == chunk.first().map(|(style, _)| *style) && inside != Some(Style::Code);
                line.push((
                    if same { inside.unwrap_or(Style::Plain) } else { Style::Plain },
                    " ".into(),
                ));
                column += 1;
            }
            for (style, text) in chunk {
                if let Style::Link(index) = style
                    && let Some(link) = self.page.links.get_mut(index)
                    && link.line == 0
                {
                    link.line = self.page.lines.len();
                }
                line.push((style, text));
            }
            column += length;
            empty = false;
        }
        self.page.lines.push(line);
    }

    fn table(&mut self) {
        let table = std::mem::take(&mut self.table);
        if !table.inside {
            return;
        }
        let columns = table.rows.iter().map(Vec::len).max().unwrap_or(0);
        let joined = |cell: &Vec<(Style, String)>| -> Line {
            let mut line = Line::new();
            for (index, chunk) in chunks(cell.clone()).into_iter().enumerate() {
                if index > 0 {
                    line.push((Style::Plain, " ".into()));
                }
                line.extend(chunk);
            }
            line
        };
        let rows: Vec<Vec<Line>> =
            table.rows.iter().map(|row| row.iter().map(joined).collect()).collect();
        let length = |line: &Line| line.iter().map(|(_, text)| text.chars().count()).sum::<usize>();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                rows.iter().filter_map(|row| row.get(column)).map(length).max().unwrap_or(0)
            })
            .collect();
        for (number, row) in rows.iter().enumerate() {
            let mut line: Line = vec![(Style::Plain, self.indent())];
            for (column, width) in widths.iter().enumerate() {
                let empty = Line::new();
                let cell = row.get(column).unwrap_or(&empty);
                let space = width - length(cell);
                let right = matches!(table.alignments.get(column), Some(Alignment::Right));
                if right {
                    line.push((Style::Plain, " ".repeat(space)));
                }
                for (style, text) in cell {
                    if let Style::Link(index) = style
                        && let Some(link) = self.page.links.get_mut(*index)
                    {
                        link.line = self.page.lines.len();
                    }
                    let style = if number == 0 { Style::Bold } else { *style };
                    line.push((style, text.clone()));
                }
                let after = if right { 0 } else { space };
                let last = column + 1 == columns;
                line.push((Style::Plain, " ".repeat(if last { 0 } else { after + 2 })));
            }
            self.page.lines.push(line);
            if number == 0 {
                let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
                let rule = format!("{}{}", self.indent(), rule.join("  "));
                self.page.lines.push(vec![(Style::Dim, rule)]);
            }
        }
    }
}

/// Groups words that are glued together (`**bold**,`).
fn chunks(words: Vec<(Style, String)>) -> Vec<Vec<(Style, String)>> {
    let mut chunks: Vec<Vec<(Style, String)>> = Vec::new();
    let mut glue = false;
    for (style, text) in words {
        if text == "\u{2060}" {
            glue = true;
        } else if glue && let Some(chunk) = chunks.last_mut() {
            chunk.push((style, text));
            glue = false;
        } else {
            chunks.push(vec![(style, text)]);
            glue = false;
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(source: &str, width: usize) -> Vec<String> {
        let text = |line: &Line| line.iter().map(|(_, text)| text.as_str()).collect::<String>();
        lay_out(source, width).lines.iter().map(text).collect()
    }

    #[test]
    fn paragraphs_and_headings() {
        let lines = plain("# Title\n\nsome **bold**, and\n`code x` here\n", 20);
        assert_eq!(lines, ["# Title", "", "some bold, and", "code x here", ""]);
    }

    #[test]
    fn lists_and_code() {
        let lines = plain("- one\n- two two two two two\n\n1. a\n2. b\n\n```\n  x\n```\n", 20);
        assert_eq!(
            lines,
            ["• one", "• two two two two", "  two", "", "1. a", "2. b", "", "   x ", ""].map(
                |line| if line == "1. a" || line == "2. b" { line.to_owned() } else { line.into() }
            )
        );
    }

    #[test]
    fn tables() {
        let lines = plain("| a | n |\n| --- | --: |\n| `xx` y | 10 |\n| z | 1 |\n", 40);
        assert_eq!(lines, ["a      n", "────  ──", "xx y  10", "z      1", ""]);
    }

    #[test]
    fn links_are_found_on_their_line() {
        let page = lay_out("# T\n\nsee [`walt help show b`](b.md) or [web](https://x/)\n", 80);
        assert_eq!(page.links, [Link { topic: "b".into(), line: 2 }]);
        let text: String = page.lines[2].iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(text, "see walt help show b or web (https://x/)");
    }
}
