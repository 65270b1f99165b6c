//! PromQL over the series of Linkerd's proxies: for what no other tool answers.

use super::{Answer, Call, Output, Tool, ToolError, Toolset, boxed, effect::Effect, input, output};
use crate::mcp::{
    page::{Page, Paging},
    promql,
    text::{data, number},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

pub(super) const TOOL: Tool = Tool {
    name: "query_prometheus",
    title: "Ask Prometheus in PromQL",
    description: "Evaluates a PromQL expression over the metrics of Linkerd's proxies, now or over the last minutes, \
                  for what no other tool answers. Only metrics of the proxies can be asked, for example \
                  `sum by (dst_service) (rate(response_total{direction=\"outbound\",namespace=\"shop\"}[1m]))`. \
                  Aggregate: raw series are many. Calls between workloads are in find_edges already.",
    set: Toolset::Prometheus,
    effect: Effect::Reads,
    open_world: true,
    input: input::<Arguments>,
    output: output::<Evaluated>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
struct Arguments {
    /// The expression, at most 2,000 characters.
    query: String,
    /// Evaluate it over the last so many minutes instead of now.
    #[schemars(range(min = 1, max = 360))]
    minutes: Option<u32>,
    /// With `minutes`: seconds between points [default: so that there are 30 points].
    #[schemars(range(min = 5, max = 3600))]
    step_seconds: Option<u32>,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Evaluated {
    /// What was evaluated, with the matchers that the operator adds.
    query: String,
    /// Result by series, in Prometheus' order.
    series: Vec<Series>,
    #[serde(flatten)]
    page: Page,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Series {
    /// Labels. Those that pods bring are written by whoever runs them.
    labels: BTreeMap<String, String>,
    /// The value now; absent when it is no finite number, and for an expression over time.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    /// For an expression over time: seconds since the Unix epoch and value, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    points: Vec<(i64, f64)>,
}

/// The most points of one series.
const MAX_POINTS: u32 = 60;
const POINTS: u32 = 30;
const MAX_QUERY: usize = 2_000;

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "resultType")]
    kind: String,
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Debug, Deserialize)]
struct Row {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: Option<(f64, String)>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let asked = super::asked(&call);
    let arguments: Arguments = call.arguments()?;
    let view = call.view()?;
    let Some(connection) = &call.context.prometheus else {
        return Err(ToolError::NotConfigured(
            "no Prometheus is configured here: an operator can give the API --prometheus-url",
        ));
    };
    if arguments.query.len() > MAX_QUERY {
        return Err(ToolError::Arguments(format!("`query` is longer than {MAX_QUERY} characters")));
    }
    let matchers = &connection.endpoint().matchers;
    let query = promql::bounded(&arguments.query, matchers)
        .map_err(|error| ToolError::Arguments(error.to_string()))?;
    let body = match arguments.minutes {
        None => connection.post("query", &[("query", Some(&query)), ("timeout", Some("10s"))]).await,
        Some(minutes) => {
            let seconds = minutes * 60;
            let step = arguments.step_seconds.unwrap_or((seconds / POINTS).max(5));
            if seconds / step > MAX_POINTS {
                return Err(ToolError::Arguments(format!(
                    "{minutes} minutes in steps of {step} s are more than {MAX_POINTS} points: make step_seconds at \
                     least {}",
                    seconds.div_ceil(MAX_POINTS)
                )));
            }
            let end = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
            let (start, end, step) =
                ((end - u64::from(seconds)).to_string(), end.to_string(), step.to_string());
            let form = [
                ("query", Some(query.as_str())),
                ("start", Some(start.as_str())),
                ("end", Some(end.as_str())),
                ("step", Some(step.as_str())),
                ("timeout", Some("10s")),
            ];
            connection.post("query_range", &form).await
        }
    }?;
    let rows = rows(&body.text).ok_or(ToolError::Upstream("Prometheus gave no result that can be read"))?;
    let (series, page) = arguments.paging.rows(&asked, &rows, Series::of)?;
    Ok(call.dated(&view, Evaluated { query: data(&query), series, page }))
}

fn rows(text: &str) -> Option<Vec<Row>> {
    let response: Response<'_> = serde_json::from_str(text).ok()?;
    let result = response.data.result.get();
    match response.data.kind.as_str() {
        "vector" | "matrix" => serde_json::from_str(result).ok(),
        "scalar" => {
            let value = serde_json::from_str(result).ok()?;
            Some(vec![Row { metric: BTreeMap::new(), value: Some(value), values: Vec::new() }])
        }
        _ => None,
    }
}

fn finite(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|it| it.is_finite()).map(number)
}

// === impl Series ===

impl Series {
    fn of(row: &Row) -> Self {
        Self {
            labels: row.metric.iter().take(40).map(|(name, value)| (data(name), data(value))).collect(),
            value: row.value.as_ref().and_then(|(_, value)| finite(value)),
            points: row
                .values
                .iter()
                .filter_map(|(at, value)| Some((at.round() as i64, finite(value)?)))
                .collect(),
        }
    }
}

// === impl Evaluated ===

impl Output for Evaluated {
    fn text(&self) -> String {
        if self.series.is_empty() {
            return "No series: nothing like that was measured, or a label is spelt otherwise.\n".to_owned();
        }
        let mut text = String::new();
        for it in &self.series {
            let labels = serde_json::to_string(&it.labels).unwrap_or_default();
            // Writing to a String does not fail.
            let _ = match (it.value, it.points.as_slice()) {
                (Some(value), _) => writeln!(text, "{labels} {value}"),
                (None, []) => writeln!(text, "{labels} no number"),
                (None, points) => {
                    let values: Vec<String> = points.iter().map(|(_, value)| value.to_string()).collect();
                    writeln!(text, "{labels} {}", values.join(" "))
                }
            };
        }
        text + &self.page.text("aggregate or add matchers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_matrices_and_scalars_are_read_and_what_is_no_number_is_absent() {
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"pod":"a\u202eb"},"value":[1.5,"2.3456"]},{"metric":{},"value":[1.5,"NaN"]}]}}"#;
        let read: Vec<Series> = rows(vector).unwrap().iter().map(Series::of).collect();
        assert_eq!(read[0].labels["pod"], "a\\u{202e}b");
        assert_eq!((read[0].value, read[1].value), (Some(2.35), None));
        let matrix = r#"{"data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2,"+Inf"],[3,"3"]]}]}}"#;
        assert_eq!(Series::of(&rows(matrix).unwrap()[0]).points, [(1, 1.0), (3, 3.0)]);
        let scalar = r#"{"data":{"resultType":"scalar","result":[1,"7"]}}"#;
        assert_eq!(Series::of(&rows(scalar).unwrap()[0]).value, Some(7.0));
        for nonsense in ["", "<html>", "{}", r#"{"data":{"resultType":"string","result":[1,"x"]}}"#] {
            assert!(rows(nonsense).is_none(), "{nonsense}");
        }
    }
}
