//! The text format of Prometheus (version 0.0.4). Pure.

use std::fmt::Write;

/// A text being written, one family of samples after the other.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// Something that only grows; its name ends with `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, "", &[("", value)]);
    }

    /// Counters told apart by one label.
    pub(super) fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.family(name, "counter", help);
        for (value, count) in values {
            self.sample(name, label, value, *count as f64);
        }
    }

    /// Seconds that only grow; the name ends with `_total`.
    pub(super) fn seconds(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "counter", help);
        self.sample(name, "", "", value);
    }

    /// Something that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, "", &[("", value)]);
    }

    /// Gauges told apart by one label.
    pub(super) fn gauges(&mut self, name: &str, help: &str, label: &str, values: &[(&str, f64)]) {
        self.family(name, "gauge", help);
        for (value, number) in values {
            self.sample(name, label, value, *number);
        }
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a text cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, label: &str, value: &str, number: f64) {
        let _ = if label.is_empty() {
            writeln!(self.0, "{name} {number}")
        } else {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            writeln!(self.0, "{name}{{{label}=\"{value}\"}} {number}")
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_prometheus_wants_it() {
        let mut text = Exposition::default();
        text.counter("a_total", "Things, \\ and\nmore.", 3);
        text.gauges("b", "Bees.", "kind", &[("x\"y\\z\n", 0.5), ("w", 1e15)]);
        assert_eq!(
            text.finish(),
            "# HELP a_total Things, \\\\ and\\nmore.\n# TYPE a_total counter\na_total 3\n\
             # HELP b Bees.\n# TYPE b gauge\nb{kind=\"x\\\"y\\\\z\\n\"} 0.5\nb{kind=\"w\"} 1000000000000000\n"
        );
    }
}
