//! Who may call whom in a namespace: callers down, ports across.

use crate::output::{
    policy::{client, list, object, on_some_routes, port},
    text::clean,
};
use linkerd_mcp_proto::v1::{AccessCall, Decision, ListAccessResponse};
use std::collections::{BTreeMap, BTreeSet};

/// Ports across before a new block begins: what fits a terminal beside a long name.
const ACROSS: usize = 20;

const LEGEND: &str = "√ allowed   r on some routes   a audited   × denied";

/// The grid, and what its columns are. Empty where nothing has ports.
pub(super) fn print(answer: &ListAccessResponse, namespace: &str) -> String {
    let mut ports: BTreeMap<(String, u32), String> = BTreeMap::new();
    for it in &answer.ports {
        let server =
            if it.server.is_empty() { "no policy".to_owned() } else { object(&it.server, namespace) };
        let services = match &it.services[..] {
            [] => String::new(),
            services => format!("   {}", list(services.iter().map(|it| clean(it)))),
        };
        ports.entry((it.workload.clone(), it.port)).or_insert(format!("{server}{services}"));
    }
    let callers: BTreeSet<&str> = answer.calls.iter().map(|call| call.from.as_str()).collect();
    let mut cells: BTreeMap<(&str, &str, u32), char> = BTreeMap::new();
    for call in &answer.calls {
        let cell = cells.entry((&call.from, &call.workload, call.port)).or_insert_with(|| mark(call));
        // Of several kinds of pods the least permissive counts.
        *cell = stricter(*cell, mark(call));
    }
    let name = |caller: &&str| client(caller, namespace);
    let width = callers.iter().map(|caller| name(caller).chars().count()).chain([4]).max().unwrap_or(4);
    let columns: Vec<(usize, &(String, u32))> = ports.keys().enumerate().collect();
    let mut out = String::new();
    for block in columns.chunks(ACROSS) {
        let digits = block.last().map_or(1, |(at, _)| (at + 1).to_string().len());
        out.push_str(&format!("{:<width$}", "FROM"));
        for (at, _) in block {
            out.push_str(&format!("  {:>digits$}", at + 1));
        }
        out.push('\n');
        for caller in &callers {
            let mut line = format!("{:<width$}", name(caller));
            for (_, (workload, port)) in block {
                let cell = cells.get(&(*caller, workload, *port)).copied().unwrap_or(' ');
                line.push_str(&format!("  {cell:>digits$}"));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out.push('\n');
    }
    if columns.is_empty() {
        return out;
    }
    let digits = columns.len().to_string().len();
    let width =
        ports.keys().map(|(it, number)| port(it, *number, namespace).chars().count()).max().unwrap_or(0);
    for (at, key) in &columns {
        let (workload, number) = key;
        let server = ports.get(*key).map_or("", String::as_str);
        let name = port(workload, *number, namespace);
        out.push_str(&format!("{:>digits$}  {name:<width$}   {server}\n", at + 1));
    }
    out.push_str(LEGEND);
    out.push('\n');
    out
}

fn mark(call: &AccessCall) -> char {
    match call.decision() {
        _ if on_some_routes(call) => 'r',
        Decision::Allow => '√',
        Decision::Audit => 'a',
        _ => '×',
    }
}

/// The less permissive of two marks.
fn stricter(a: char, b: char) -> char {
    const ORDER: [char; 4] = ['√', 'a', 'r', '×'];
    let rank = |mark| ORDER.iter().position(|known| *known == mark);
    if rank(b) > rank(a) { b } else { a }
}
