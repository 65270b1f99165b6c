//! How fast the parts are, each next to the least work that could do the same, measured in turns in the same run.
//!
//! `cargo bench -p linkerd-mcp-test --bench speed -- snapshot watch` runs two sections; without names all run but
//! those in `BY_NAME`.
//! Milliseconds of a shared machine say little; the ratio to the floor is what compares from run to run.

#![expect(clippy::print_stdout, reason = "the table is what a benchmark is for")]
#![expect(clippy::unwrap_used, reason = "a failing helper ends the benchmark")]

mod access;
mod assemble;
mod authorization;
mod load;
mod mcp;
mod measure;
mod mesh;
mod peers;
mod rpc;
mod serve;
mod watch;
mod wire;

use measure::Table;

/// Name, and what it measures.
type Section = (&'static str, fn(&mut Table));

const SECTIONS: [Section; 10] = [
    ("snapshot", wire::snapshot),
    ("delta", wire::delta),
    ("frame", wire::frame),
    ("assemble", assemble::assemble),
    ("access", access::access),
    ("authorization", authorization::authorization),
    ("serve", serve::serve),
    ("watch", watch::watch),
    ("fanout", watch::fan_out),
    ("mcp", mcp::mcp),
];

/// What needs programs of others, so that it runs only when it is named.
const BY_NAME: [Section; 1] = [("peers", peers::peers)];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|arg| arg == "--bench") {
        println!("nothing measured: this is run by `cargo bench`");
        return;
    }
    let wanted: Vec<&str> = args.iter().map(String::as_str).filter(|arg| !arg.starts_with("--")).collect();
    let all = SECTIONS.iter().map(|it| (it, wanted.is_empty())).chain(BY_NAME.iter().map(|it| (it, false)));
    for ((name, section), unnamed) in all {
        if unnamed || wanted.contains(name) {
            let mut table = Table::new(name);
            section(&mut table);
            table.end();
        }
    }
}
