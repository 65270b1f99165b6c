//! `linkerd-mcp mcp`: the Model Context Protocol over stdin and stdout, for clients that start a process.

use crate::{
    args::Globals,
    cmd::demo::{self, DemoArgs},
    relay::{
        self,
        exchange::Http,
        line::{self, Line},
    },
    terminal,
};
use clap::{Args, builder::RangedU64ValueParser};
use std::{
    io::{self, BufReader},
    thread,
};
use tokio::sync::{mpsc, oneshot};

/// Lines of the client that wait to be read, at most 4 MiB each.
const LINES_IN: usize = 4;
/// Lines that wait to be written.
const LINES_OUT: usize = 64;

/// Arguments of `mcp`.
#[derive(Debug, Args)]
pub(crate) struct McpArgs {
    /// Answer from a simulated mesh in this process; needs no cluster
    #[arg(long, conflicts_with = "api_addr")]
    pub(crate) demo: bool,

    /// With --demo: simulate a mesh of this many services
    #[arg(
        long,
        value_name = "N",
        requires = "demo",
        value_parser = RangedU64ValueParser::<u32>::new().range(1..=demo::MOST_SERVICES)
    )]
    pub(crate) services: Option<u32>,
}

/// Relays until the client closes stdin.
pub(crate) async fn run(globals: &Globals, args: McpArgs) -> anyhow::Result<()> {
    let (globals, demo) = if args.demo {
        let (running, here) = demo::start(globals, &DemoArgs::quiet(args.services)).await?;
        (here, Some(running))
    } else {
        (globals.clone(), None)
    };
    let (lines_in, input) = mpsc::channel(LINES_IN);
    let (out, lines_out) = mpsc::channel(LINES_OUT);
    // Reading stdin cannot be interrupted, so it is in a thread that the end of the process ends.
    thread::Builder::new().name("stdin".to_owned()).spawn(move || read(&lines_in))?;
    let (written, all_written) = oneshot::channel();
    thread::Builder::new().name("stdout".to_owned()).spawn(move || {
        let _ = written.send(write(lines_out));
    })?;
    relay::run(Http::new(&globals), input, out).await;
    // The relay has let go of its end, so this ends when all is written.
    let outcome = all_written.await.unwrap_or(Ok(()));
    if let Some(running) = demo {
        running.until(std::future::ready(())).await?;
    }
    match outcome {
        Err(error) if terminal::reader_went_away(&error) => Ok(()),
        outcome => outcome,
    }
}

fn read(lines: &mpsc::Sender<Line>) {
    let mut stdin = BufReader::with_capacity(64 << 10, io::stdin());
    loop {
        match line::next(&mut stdin) {
            Ok(Some(line)) => {
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                terminal::say(&format!("error: stdin cannot be read: {error}"));
                return;
            }
        }
    }
}

fn write(mut lines: mpsc::Receiver<String>) -> anyhow::Result<()> {
    while let Some(mut line) = lines.blocking_recv() {
        line.push('\n');
        terminal::data(line.as_bytes())?;
    }
    Ok(())
}
