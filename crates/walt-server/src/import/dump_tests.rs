#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn rows(text: &[u8]) -> Result<Vec<Row>, String> {
    let mut dump = Dump::new(text).map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    while let Some(row) = dump.next_row().map_err(|error| error.to_string())? {
        rows.push(row);
    }
    Ok(rows)
}

fn whole(text: &str) -> Vec<u8> {
    format!("{text}\n--\n{END}\n--\n\n").into_bytes()
}

#[test]
fn escapes_of_copy() {
    for (field, value) in [
        ("", Some("")),
        (r"\N", None),
        (r"\\N", Some(r"\N")),
        (r"a\tb\nc\rd\\e", Some("a\tb\nc\rd\\e")),
        (r"\b\f\v", Some("\u{8}\u{c}\u{b}")),
        (r"\101\60\x41\x4a1\18", Some("A0AJ1\u{1}8")),
        (r"\xg\q\.", Some("xgq.")),
        ("\u{e9}\\303\\251", Some("\u{e9}\u{e9}")),
        ("end\\", Some("end\\")),
    ] {
        let found = copied(field.as_bytes(), 1).unwrap();
        assert_eq!(found, [value.map(str::to_owned)], "{field}");
    }
    assert_eq!(copied(b"a\t\\N\t", 3).unwrap(), [Some("a".into()), None, Some(String::new())]);
    assert!(copied(b"a\tb", 1).is_err() && copied(b"a", 2).is_err());
    assert_eq!(copied(b"\xff", 1).unwrap()[0].as_deref(), Some("\u{fffd}"));
}

#[test]
fn copy_and_insert_say_the_same() {
    let copy = whole(
        "SET client_encoding = 'UTF8';\nCREATE TABLE public.t (\n    a text NOT NULL,\n    \"b c\" integer DEFAULT 1,\n    CONSTRAINT x CHECK ((a <> ';'::text))\n);\n\
         COPY public.t (a, \"b c\") FROM stdin;\nit's;\\nx\t1\n\\N\t\\N\n\\.\n",
    );
    let inserts = whole(
        "CREATE TABLE t (\n    a text,\n    \"b c\" integer\n);\nINSERT INTO public.t VALUES ('it''s;\nx', 1);\n\
         INSERT INTO public.t (\"b c\", a) VALUES (NULL, NULL);\n",
    );
    let copied = rows(&copy).unwrap();
    let inserted = rows(&inserts).unwrap();
    assert_eq!(copied.len(), 2);
    for rows in [&copied, &inserted] {
        assert_eq!(rows[0].get("a"), Some("it's;\nx"));
        assert_eq!(rows[0].get("b c"), Some("1"));
        assert_eq!((rows[1].get("a"), rows[1].get("none")), (None, None));
        assert_eq!(&*rows[0].table, "t");
    }
    let many = whole("INSERT INTO t (a, b) VALUES\n\t('x', true),\n\t(E'a\\nb\\'c', -1.5);\n");
    let many = rows(&many).unwrap();
    assert_eq!((many[0].get("b"), many[1].get("a")), (Some("true"), Some("a\nb'c")));
    assert_eq!(many[1].get("b"), Some("-1.5"));
}

#[test]
fn what_is_no_plain_whole_dump_is_said() {
    for (text, said) in [
        (b"PGDMP...".to_vec(), "custom format"),
        (b"\x1f\x8b...".to_vec(), "compressed"),
        (b"".to_vec(), "not whole"),
        (b"COPY t (a) FROM stdin;\nx\n".to_vec(), "not whole"),
        (b"COPY t (a, b) FROM stdin;\nx".to_vec(), "not whole"),
        (b"INSERT INTO t (a) VALUES ('x".to_vec(), "not whole"),
        (whole("COPY t (a) FROM stdin;\nx\ty\n\\.\n"), "line 2 of the dump: more than 1 values"),
        (whole("COPY t FROM stdin;\n\\.\n"), "the columns of table 't' are not known"),
        (whole("INSERT INTO t (a, b) VALUES (1);\n"), "1 values for 2 columns"),
        (whole("INSERT INTO t (a) VALUES (now());\n"), "line 1 of the dump"),
        (whole("SET client_encoding = 'LATIN1';\n"), "--encoding=UTF8"),
    ] {
        let found = rows(&text).unwrap_err();
        assert!(found.contains(said), "{found}");
    }
    // The end inside of a value is no end.
    let text = format!("COPY t (a) FROM stdin;\n{END}\n");
    assert!(rows(text.as_bytes()).unwrap_err().contains("not whole"));
}

proptest! {
    #[test]
    fn any_text_survives_copy(values in prop::collection::vec(prop::option::of("\\PC*[\\n\\t\\\\]?\\PC*"), 1..5)) {
        let escaped: Vec<String> = values.iter().map(|value| match value {
            None => "\\N".to_owned(),
            Some(text) => text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t"),
        }).collect();
        let found = copied(escaped.join("\t").as_bytes(), values.len()).unwrap();
        prop_assert_eq!(found, values);
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = rows(&bytes);
        let _ = rows(&[b"INSERT INTO t VALUES (".as_slice(), &bytes, b");\n"].concat());
        let _ = rows(&[b"CREATE TABLE t (\n".as_slice(), &bytes, b");\n"].concat());
        let _ = rows(&[b"COPY t (a, b) FROM stdin;\n".as_slice(), &bytes].concat());
    }
}
