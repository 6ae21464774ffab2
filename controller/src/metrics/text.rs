//! Prometheus' text format, for values that are read at the moment of a scrape: what no longer exists is simply not there.

use std::fmt::Write;

/// Grows with every metric; samples of one metric stay together, as the format wants.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    /// A gauge with one sample per item.
    pub(super) fn gauge<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'static str, String); N], f64)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escape(text))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_follow_their_header() {
        let mut text = Text::default();
        text.gauge(
            "a",
            "What a is.",
            [([("mirror", "x\"y".to_owned())], 1.0), ([("mirror", "z".to_owned())], 2.5)],
        );
        text.gauge("b", "Nothing to say.", std::iter::empty::<([(&str, String); 0], f64)>());
        text.gauge("c", "Without labels.", [([], 0.0)]);
        let expected = "# HELP a What a is.\n# TYPE a gauge\na{mirror=\"x\\\"y\"} 1\na{mirror=\"z\"} 2.5\n\
                        # HELP c Without labels.\n# TYPE c gauge\nc 0\n";
        assert_eq!(text.finish(), expected);
    }
}
