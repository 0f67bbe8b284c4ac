//! Tables and sections of listings.

/// Lays out a table: header line, line of dashes, one line per row. Columns are two spaces apart and left-aligned;
/// **every** cell is padded to its column's width, the last one included, since scripts look for
/// `<name> ` with its blank. No line break at the end. Line breaks and tabs inside cells become spaces.
///
/// Rows may be shorter than the header (missing cells are empty); extra cells are dropped.
pub fn table<H: AsRef<str>, C: AsRef<str>>(header: &[H], rows: &[Vec<C>]) -> String {
    let columns = header.len();
    let clean = |cell: &str| cell.replace(['\n', '\r', '\t'], " ");
    let mut lines: Vec<Vec<String>> = vec![header.iter().map(|h| clean(h.as_ref())).collect()];
    for row in rows {
        let mut cells: Vec<String> = row.iter().take(columns).map(|c| clean(c.as_ref())).collect();
        cells.resize(columns, String::new());
        lines.push(cells);
    }
    let widths: Vec<usize> = (0..columns)
        .map(|column| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0))
        .collect();
    lines.insert(1, widths.iter().map(|width| "-".repeat(*width)).collect());
    let render = |cells: &Vec<String>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        padded.join("  ")
    };
    lines.iter().map(render).collect::<Vec<_>>().join("\n")
}

/// The header name of a field: `image_owner` is shown as `image-owner`.
pub fn field_header(field: &str) -> String {
    field.replace('_', "-")
}

/// A section of a listing: empty line, title in bold, empty line, table, empty line, and the footnote
/// followed by an empty line if there is one. Ends with a line break.
pub fn section(title: &str, table: &str, footnote: Option<&str>) -> String {
    let mut out = format!("\n\x1b[1m{title}\n\x1b[0m\n{table}\n\n");
    if let Some(footnote) = footnote {
        out.push_str(footnote);
        out.push_str("\n\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_padded() {
        let rows = vec![vec!["n1", "yes"], vec!["node-2", ""], vec!["é"]];
        let text = table(&["name", "booted"], &rows);
        let expected = [
            "name    booted",
            "------  ------",
            "n1      yes   ",
            "node-2        ",
            "é             ",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn cells_cannot_break_the_table() {
        assert_eq!(table(&["a"], &[vec!["x\ny", "dropped"]]), "a  \n---\nx y");
        assert_eq!(table::<&str, &str>(&[], &[]), "\n");
    }

    #[test]
    fn sections() {
        assert_eq!(section("T", "tbl", Some("note")), "\n\x1b[1mT\n\x1b[0m\ntbl\n\nnote\n\n");
        assert_eq!(field_header("clonable_image_link"), "clonable-image-link");
    }
}
