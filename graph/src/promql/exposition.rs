//! Reads the text a proxy's `/metrics` gives: enough of the exposition format for recorded and simulated proxies.

use super::eval::Series;
use crate::id::Text;

/// A line that is no sample.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not a sample: `{text}`")]
pub struct Error {
    line: usize,
    text: String,
}

/// The samples of one scrape, taken at `time_s` seconds, each with the scraper's `target` labels added. As in a
/// scrape, target labels win over labels of the same name.
pub fn parse(text: &str, time_s: f64, target: &[(Text, Text)]) -> Result<Vec<Series>, Error> {
    let mut series = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let error = || Error { line: number + 1, text: line.chars().take(80).collect() };
        let (name, labels, value) = sample(line).ok_or_else(error)?;
        let mut labels: Vec<(Text, Text)> = labels
            .into_iter()
            .filter(|(name, value)| !value.is_empty() && !target.iter().any(|(taken, _)| **taken == **name))
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        labels.extend(target.iter().cloned());
        series.push(Series { metric: name.into(), labels, samples: vec![(time_s, value)] });
    }
    Ok(series)
}

/// Label names and values.
type Labels = Vec<(String, String)>;

fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    let (name, labels, rest) = match line.find('{') {
        Some(open) => {
            let (labels, rest) = labels(&line[open + 1..])?;
            (&line[..open], labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, Vec::new(), rest)
        }
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, labels, value))
}

/// Labels up to the closing brace, and what follows it.
fn labels(text: &str) -> Option<(Labels, &str)> {
    let mut labels = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        loop {
            match characters.next()? {
                (at, '"') => {
                    rest = &after[at + 1..];
                    break;
                }
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        }
        labels.push((name.to_owned(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_get_the_targets_labels_and_empty_labels_vanish_as_in_prometheus() {
        let text =
            "# HELP x\nx_total{a=\"1\",namespace=\"liar\",grpc_status=\"\",q=\"say \\\"hi\\\"\"} 3\ny 1e3\n";
        let series = parse(text, 7.0, &[("namespace".into(), "shop".into())]).unwrap();
        assert_eq!(series.len(), 2);
        assert_eq!(
            series[0].labels,
            [
                ("a".into(), "1".into()),
                ("q".into(), "say \"hi\"".into()),
                ("namespace".into(), "shop".into())
            ]
        );
        assert_eq!(series[1].samples, [(7.0, 1000.0)]);
        assert!(parse("nonsense", 0.0, &[]).is_err());
    }
}
