//! The pager of `walt help`.

use super::raw::RawMode;
use super::signals::Resizes;
use crate::failure::Failure;
use crate::output;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::stdin;
use std::os::fd::AsFd;
use walt_doc::Topic;
use walt_doc::terminal::{Line, Page, Style, lay_out};

/// Rows taken by the footer.
const FOOTER: usize = 2;

/// Alternate screen, wheel as arrows, no cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?1007h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1007l\x1b[?1049l";

/// Shows a topic until `q`.
///
/// # Errors
/// When the terminal cannot be used.
pub fn show(topic: Topic) -> Result<(), Failure> {
    let broken =
        |error: std::io::Error| Failure::plain(format!("Cannot use the terminal: {error}."));
    let resizes = Resizes::new().map_err(broken)?;
    let raw = RawMode::enter().map_err(broken)?;
    output::print(ENTER);
    let mut pager = Pager { views: vec![View::new(topic)], ..Pager::default() };
    pager.run(&resizes);
    output::print(LEAVE);
    drop(raw);
    Ok(())
}

/// A topic being read.
struct View {
    topic: Topic,
    /// First line on the screen.
    top: usize,
    selected: Option<usize>,
}

impl View {
    fn new(topic: Topic) -> Self {
        Self { topic, top: 0, selected: None }
    }
}

#[derive(Default)]
struct Pager {
    /// The current topic is the last one; those before it lead back.
    views: Vec<View>,
    page: Page,
    width: usize,
    rows: usize,
}

/// A key that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    NextLink,
    PreviousLink,
    Open,
    Back,
    Quit,
    Ignored,
}

impl Pager {
    fn run(&mut self, resizes: &Resizes) {
        self.lay_out();
        let mut pending = Vec::new();
        loop {
            self.draw();
            let keys = stdin();
            let mut fds = [
                PollFd::from_borrowed_fd(keys.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(resizes.fd(), PollFlags::IN),
            ];
            if poll(&mut fds, None).is_err() {
                continue;
            }
            if !fds[1].revents().is_empty() {
                resizes.clear();
                self.lay_out();
            }
            if fds[0].revents().is_empty() {
                continue;
            }
            let mut bytes = [0; 256];
            match rustix::io::read(stdin(), &mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(count) => pending.extend_from_slice(&bytes[..count]),
            }
            while let Some((key, used)) = decode(&pending) {
                pending.drain(..used);
                if self.press(key) {
                    return;
                }
            }
        }
    }

    fn lay_out(&mut self) {
        let (columns, rows) = super::size();
        self.width = usize::from(columns);
        self.rows = usize::from(rows).saturating_sub(FOOTER).max(1);
        if let Some(view) = self.views.last() {
            self.page = lay_out(view.topic.source, self.width.saturating_sub(2).min(100));
        }
        let last = self.last_top();
        if let Some(view) = self.views.last_mut() {
            view.top = view.top.min(last);
        }
    }

    fn last_top(&self) -> usize {
        self.page.lines.len().saturating_sub(self.rows)
    }

    /// True: quit.
    fn press(&mut self, key: Key) -> bool {
        let (last, rows, links) = (self.last_top(), self.rows, self.page.links.len());
        let depth = self.views.len();
        let Some(view) = self.views.last_mut() else { return true };
        let page = rows.saturating_sub(1).max(1);
        match key {
            Key::Quit => return true,
            Key::Up => view.top = view.top.saturating_sub(1),
            Key::Down => view.top = (view.top + 1).min(last),
            Key::PageUp => view.top = view.top.saturating_sub(page),
            Key::PageDown => view.top = (view.top + page).min(last),
            Key::Home => view.top = 0,
            Key::End => view.top = last,
            Key::NextLink | Key::PreviousLink if links > 0 => {
                let next = match (view.selected, key) {
                    (None, Key::NextLink) => 0,
                    (None, _) => links - 1,
                    (Some(index), Key::NextLink) => (index + 1) % links,
                    (Some(index), _) => (index + links - 1) % links,
                };
                view.selected = Some(next);
                let line = self.page.links[next].line;
                if line < view.top || line >= view.top + rows {
                    view.top = line.saturating_sub(rows / 2).min(last);
                }
            }
            Key::Open => {
                let link = view.selected.and_then(|index| self.page.links.get(index));
                let seen = |line: usize| line >= view.top && line < view.top + rows;
                if let Some(link) = link.filter(|link| seen(link.line))
                    && let Some(topic) = walt_doc::topic(&link.topic)
                {
                    self.views.push(View::new(topic));
                    self.lay_out();
                }
            }
            Key::Back if depth > 1 => {
                self.views.pop();
                self.lay_out();
            }
            Key::NextLink | Key::PreviousLink | Key::Back | Key::Ignored => {}
        }
        false
    }

    fn draw(&self) {
        let Some(view) = self.views.last() else { return };
        let styled = super::has_styles();
        let mut out = String::from("\x1b[H");
        for row in 0..self.rows {
            if let Some(line) = self.page.lines.get(view.top + row) {
                out.push(' ');
                out.push_str(&draw_line(line, view.selected, self.width.saturating_sub(1), styled));
            }
            out.push_str("\x1b[K\r\n");
        }
        out.push_str(&"━".repeat(self.width));
        out.push_str("\x1b[K\r\n");
        let footer: String = self.footer(view).chars().take(self.width).collect();
        out.push_str(&footer);
        out.push_str("\x1b[K");
        output::print(&out);
    }

    fn footer(&self, view: &View) -> String {
        let mut keys = vec!["q: quit"];
        if self.last_top() > 0 {
            keys.push("arrows: scroll");
        }
        if !self.page.links.is_empty() {
            keys.push("tab: next topic");
        }
        if view.selected.is_some() {
            keys.push("enter: open");
        }
        if self.views.len() > 1 {
            keys.push("backspace: return");
        }
        format!(" {} | {}", view.topic.name, keys.join(" | "))
    }
}

fn draw_line(line: &Line, selected: Option<usize>, width: usize, styled: bool) -> String {
    let mut out = String::new();
    let mut room = width;
    for (style, text) in line {
        let text: String = text.chars().take(room).collect();
        room -= text.chars().count();
        let code = match style {
            _ if !styled => "",
            Style::Plain => "",
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Heading => "1;4;31",
            Style::Code => "36",
            Style::Address => "34",
            Style::Link(index) if Some(*index) == selected => "1;7",
            Style::Link(_) => "4",
        };
        let marked = !styled && matches!(style, Style::Link(index) if Some(*index) == selected);
        match (code, marked) {
            (_, true) => out.push_str(&format!("[{text}]")),
            ("", false) => out.push_str(&text),
            (code, false) => out.push_str(&format!("\x1b[{code}m{text}\x1b[0m")),
        }
    }
    out
}

/// First key of what was typed and the number of its bytes; `None` when nothing is left.
fn decode(bytes: &[u8]) -> Option<(Key, usize)> {
    let sequences: &[(&[u8], Key)] = &[
        (b"\x1b[A", Key::Up),
        (b"\x1bOA", Key::Up),
        (b"\x1b[B", Key::Down),
        (b"\x1bOB", Key::Down),
        (b"\x1b[5~", Key::PageUp),
        (b"\x1b[6~", Key::PageDown),
        (b"\x1b[H", Key::Home),
        (b"\x1bOH", Key::Home),
        (b"\x1b[1~", Key::Home),
        (b"\x1b[F", Key::End),
        (b"\x1bOF", Key::End),
        (b"\x1b[4~", Key::End),
        (b"\x1b[Z", Key::PreviousLink),
        (b"\t", Key::NextLink),
        (b"\r", Key::Open),
        (b"\n", Key::Open),
        (b"\x7f", Key::Back),
        (b"\x08", Key::Back),
        (b" ", Key::PageDown),
        (b"q", Key::Quit),
    ];
    let first = *bytes.first()?;
    if let Some((sequence, key)) =
        sequences.iter().find(|(sequence, _)| bytes.starts_with(sequence))
    {
        return Some((*key, sequence.len()));
    }
    if first == 0x1b && matches!(bytes.get(1), Some(b'[' | b'O')) {
        let end = bytes[2..].iter().position(|byte| (0x40..=0x7e).contains(byte));
        return Some((Key::Ignored, end.map_or(bytes.len(), |end| end + 3)));
    }
    Some((Key::Ignored, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        assert_eq!(decode(b"\x1b[Aq"), Some((Key::Up, 3)));
        assert_eq!(decode(b"\x1b[1;5Cq"), Some((Key::Ignored, 6)));
        assert_eq!(decode(b"A"), Some((Key::Ignored, 1)));
        assert_eq!(decode(b"5"), Some((Key::Ignored, 1)));
        assert_eq!(decode(b"\x03"), Some((Key::Ignored, 1)));
        assert_eq!(decode(b""), None);
    }

    #[test]
    fn links_are_walked_and_opened() {
        static SOURCE: &str = "# T\n\n[a](help-intro.md)\n\n[b](help-intro.md)\n";
        let topic = Topic { name: "t", source: SOURCE };
        let mut pager = Pager { views: vec![View::new(topic)], ..Pager::default() };
        pager.lay_out();
        for (key, selected) in
            [(Key::NextLink, 0), (Key::NextLink, 1), (Key::NextLink, 0), (Key::PreviousLink, 1)]
        {
            assert!(!pager.press(key));
            assert_eq!(pager.views[0].selected, Some(selected));
        }
        pager.press(Key::Open);
        assert_eq!(pager.views.len(), 2);
        pager.press(Key::Back);
        assert_eq!((pager.views.len(), pager.views[0].selected), (1, Some(1)));
        assert!(pager.press(Key::Quit));
    }
}
