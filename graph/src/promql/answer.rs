//! Prometheus' answer to an instant query, read without copying its labels.

use serde::{Deserialize, Deserializer, de};
use std::{borrow::Cow, fmt, marker::PhantomData};

/// One row of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<'a> {
    /// Labels in the order they came.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The value; finite and not negative: all that is asked for is a rate, a count or a duration.
    pub value: f64,
}

/// The rows of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer<'a> {
    /// Rows with values that can be.
    pub rows: Vec<Row<'a>>,
    /// Rows left out because their value is NaN or infinite (a quantile of nothing, a division by zero), or negative.
    pub not_finite: usize,
    /// Warnings Prometheus gave; the answer may then be partial.
    pub warnings: Vec<String>,
}

/// Why an answer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the JSON Prometheus speaks: an HTML login page, a proxy's error, a cut-off body.
    #[error("the answer is not a Prometheus query result (it starts with `{start}`)")]
    NotPrometheus {
        /// The first characters, made safe to print.
        start: String,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// Prometheus answered with an error of its own.
    #[error("Prometheus answered {kind}: {message}")]
    Refused {
        /// Prometheus' error type.
        kind: String,
        /// Its message.
        message: String,
    },
    /// More rows than allowed.
    #[error("the answer has more than {limit} series")]
    TooManySeries {
        /// The limit.
        limit: usize,
    },
    /// A range vector, scalar or string where an instant vector was asked for.
    #[error("the answer is a {0}, not a vector")]
    NotVector(String),
}

// === impl Row ===

impl Row<'_> {
    /// A label's value; empty when absent, as Prometheus sees it.
    pub fn get(&self, label: &str) -> &str {
        self.labels.iter().find(|(name, _)| name == label).map_or("", |(_, value)| value)
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
    #[serde(rename = "errorType", default)]
    error_type: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "resultType")]
    result_type: Cow<'a, str>,
    #[serde(borrow)]
    result: &'a serde_json::value::RawValue,
}

#[derive(Deserialize)]
struct WireRow<'a> {
    #[serde(borrow)]
    metric: WireLabels<'a>,
    value: WireValue,
}

struct WireLabels<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// `[<unix time>, "<value>"]`.
struct WireValue(f64);

#[derive(Deserialize)]
struct CowStr<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for WireLabels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> de::Visitor<'de> for Visitor<'a> {
            type Value = WireLabels<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = Vec::with_capacity(16);
                while let Some((CowStr(name), CowStr(value))) = map.next_entry()? {
                    labels.push((name, value));
                }
                Ok(WireLabels(labels))
            }
        }
        deserializer.deserialize_map(Visitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for WireValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (_, CowStr(value)) = <(f64, CowStr<'de>)>::deserialize(deserializer)?;
        value.parse().map(Self).map_err(|_| de::Error::custom(format_args!("`{value}` is not a number")))
    }
}

/// Reads a body of `/api/v1/query`, at most `max_series` rows of it.
pub fn parse(body: &str, max_series: usize) -> Result<Answer<'_>, Error> {
    let not_prometheus = |source| Error::NotPrometheus { start: start_of(body), source };
    let parsed: Body<'_> = serde_json::from_str(body).map_err(not_prometheus)?;
    if parsed.status != "success" {
        return Err(Error::Refused {
            kind: parsed.error_type.unwrap_or_else(|| parsed.status.into_owned()),
            message: parsed.error.unwrap_or_else(|| "no message".to_owned()),
        });
    }
    let data = parsed.data.ok_or_else(|| not_prometheus(de::Error::missing_field("data")))?;
    if data.result_type != "vector" {
        return Err(Error::NotVector(data.result_type.into_owned()));
    }
    let mut rows = Rows { max_series, answer: Answer { warnings: parsed.warnings, ..Answer::default() } };
    let mut deserializer = serde_json::Deserializer::from_str(data.result.get());
    let outcome = de::DeserializeSeed::deserialize(&mut rows, &mut deserializer);
    match outcome {
        Ok(true) => Ok(rows.answer),
        Ok(false) => Err(Error::TooManySeries { limit: max_series }),
        Err(source) => Err(not_prometheus(source)),
    }
}

/// Collects rows one by one, so that an answer over the limit costs no more than the limit.
struct Rows<'a> {
    max_series: usize,
    answer: Answer<'a>,
}

impl<'de> de::DeserializeSeed<'de> for &mut Rows<'de> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> de::Visitor<'de> for &mut Rows<'de> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let mut within = true;
        while let Some(row) = seq.next_element::<WireRow<'de>>()? {
            if self.answer.rows.len() + self.answer.not_finite >= self.max_series {
                within = false;
                while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                break;
            }
            match row.value.0.is_finite() && row.value.0 >= 0.0 {
                true => self.answer.rows.push(Row { labels: row.metric.0, value: row.value.0 }),
                false => self.answer.not_finite += 1,
            }
        }
        Ok(within)
    }
}

fn start_of(body: &str) -> String {
    body.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"namespace":"shop","dst_service":"w\"eb"},"value":[1.5,"2.25"]},
        {"metric":{},"value":[1.5,"NaN"]}]},"warnings":["partial"]}"#;

    #[test]
    fn rows_are_borrowed_and_values_that_are_not_finite_are_left_out_and_counted() {
        let answer = parse(TWO, 10).unwrap();
        assert_eq!((answer.rows.len(), answer.not_finite), (1, 1));
        assert_eq!(
            (answer.rows[0].get("dst_service"), answer.rows[0].get("none"), answer.rows[0].value),
            ("w\"eb", "", 2.25)
        );
        assert!(matches!(answer.rows[0].labels[0].1, Cow::Borrowed("shop")));
        assert_eq!(answer.warnings, ["partial"]);
    }

    #[test]
    fn html_is_said_to_be_html_and_an_error_of_prometheus_is_passed_on() {
        let html = parse("<html><body>Sign in", 10).unwrap_err();
        assert_eq!(
            html.to_string(),
            "the answer is not a Prometheus query result (it starts with `<html><body>Sign in`)"
        );
        let refused =
            parse(r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#, 10).unwrap_err();
        assert_eq!(refused.to_string(), "Prometheus answered bad_data: parse error");
    }

    #[test]
    fn more_series_than_allowed_and_other_types_are_refused() {
        assert!(matches!(parse(TWO, 1), Err(Error::TooManySeries { limit: 1 })));
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#;
        assert!(matches!(parse(scalar, 1), Err(Error::NotVector(kind)) if kind == "scalar"));
        assert!(matches!(parse(&TWO[..80], 9), Err(Error::NotPrometheus { .. })));
    }
}
