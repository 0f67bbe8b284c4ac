use super::super::{PyValue, repr, strategy};
use super::*;
use proptest::prelude::*;

fn text(s: &str) -> PyValue {
    PyValue::str(s)
}

#[test]
fn what_shell_tools_send() {
    let call = parse("('API_CALL', 'report_lldp_neighbor', ( 'aa:bb', 'port 1',), {})").unwrap();
    let args = PyValue::Tuple(vec![text("aa:bb"), text("port 1")]);
    let expected =
        vec![text("API_CALL"), text("report_lldp_neighbor"), args, PyValue::Dict(vec![])];
    assert_eq!(call, PyValue::Tuple(expected));
    assert_eq!(parse("('CLOSE')").unwrap(), text("CLOSE"));
    assert_eq!(
        parse("('SET_MODE', \"pickle4\")").unwrap(),
        PyValue::Tuple(vec![text("SET_MODE"), text("pickle4")])
    );
}

#[test]
fn literals() {
    let ints = [
        ("0", 0),
        ("-12", -12),
        ("1_000", 1000),
        ("0x_fF", 255),
        ("0o17", 15),
        ("0b101", 5),
        ("- -3", 3),
        ("00", 0),
        ("-9223372036854775808", i64::MIN),
    ];
    for (source, n) in ints {
        assert_eq!(parse(source), Ok(PyValue::Int(n)), "{source}");
    }
    for (source, x) in
        [("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("-1e3", -1000.0), ("1E-2", 0.01), ("1_0.5", 10.5)]
    {
        assert_eq!(parse(source), Ok(PyValue::Float(x)), "{source}");
    }
    let strings = [
        ("''", ""),
        ("'a\"b'", "a\"b"),
        (r#""it's""#, "it's"),
        (r"'\x41\u00e9\U0001F600\n\\'", "Aé😀\n\\"),
        (r"r'\n'", r"\n"),
        ("u'é'", "é"),
        ("'a' \"b\"", "ab"),
        ("'''a'\nb'''", "a'\nb"),
        (r"'\101\0\d'", "A\0\\d"),
        ("'a\\\nb'", "ab"),
        (r"'\ud800'", "\u{fffd}"),
    ];
    for (source, s) in strings {
        assert_eq!(parse(source), Ok(text(s)), "{source}");
    }
    assert_eq!(parse(r"b'a\xff\n\777\d'"), Ok(PyValue::Bytes(b"a\xff\n\xff\\d".to_vec())));
    assert_eq!(parse("()"), Ok(PyValue::Tuple(vec![])));
    assert_eq!(parse("(1,)"), Ok(PyValue::Tuple(vec![PyValue::Int(1)])));
    assert_eq!(parse(" ( (1) ) "), Ok(PyValue::Int(1)));
    assert_eq!(parse("[1, 2 ,]"), Ok(PyValue::List(vec![PyValue::Int(1), PyValue::Int(2)])));
    let dict =
        PyValue::Dict(vec![(PyValue::Int(1), PyValue::None), (text("a"), PyValue::Bool(true))]);
    assert_eq!(parse("{1: None, 'a': True,}"), Ok(dict));
}

#[test]
fn refusals() {
    for bad in [
        "",
        "(",
        "(,)",
        "[,]",
        "{,}",
        "{1}",
        "{1:2",
        "[1 2]",
        "1 2",
        "1+2",
        "2j",
        "007",
        "1__0",
        "_1",
        "0x",
        "1e",
        "--",
        "None()",
        "__import__('os')",
        "'a",
        "'a\nb'",
        r"'\x4'",
        r"'\U00110000'",
        r"'\N{DASH}'",
        "b'é'",
        "'a' b'b'",
        "f'a'",
        "9223372036854775808",
        "..",
        "True1",
        "'\\",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn limits() {
    assert!(parse(&"[".repeat(1_000_000)).unwrap_err().what.contains("deep"));
    assert!(
        parse(&format!("[{}]", "0,".repeat(LITERAL_ITEMS_MAX))).unwrap_err().what.contains("many")
    );
    assert!(parse(&"-".repeat(1_000_000)).is_err());
}

proptest! {
    #[test]
    fn round_trip(value in strategy::value()) {
        prop_assert_eq!(parse(&repr(&value)).unwrap(), value);
    }

    #[test]
    fn never_panics(source: String) {
        let _ = parse(&source);
    }

    #[test]
    fn never_panics_on_near_literals(source in r#"[\[\](){}'"\\bru0-9.eExXN_, :+é\n-]{0,40}"#) {
        let _ = parse(&source);
    }
}
