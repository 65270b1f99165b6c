//! `graph --watch`: follows the stream, comes back after a break where it left off, and prints.

use super::{Format, event, mirror::Mirror, question::Question};
use crate::{
    client::Mesh,
    output::{freshness, json, table, wide, yaml},
    terminal,
};
use linkerd_mcp_proto::v1::{
    MeshGraph, WatchMeshGraphRequest, WatchMeshGraphResponse, watch_mesh_graph_response::Event,
};
use std::{future::pending, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Status, Streaming};

/// A screen is redrawn, and a question asked again, at most this often: a rollout changes the mesh many times a second.
const REDRAW_INTERVAL: Duration = Duration::from_millis(250);
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// Prints until Ctrl-C, which is the usual end and no failure.
pub(crate) async fn run(mesh: &Mesh, question: &Question, format: Format) -> anyhow::Result<()> {
    let watch = Watch { mesh, question, format, screen: terminal::stdout_is_terminal() };
    tokio::select! {
        ended = watch.follow() => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

struct Watch<'a> {
    mesh: &'a Mesh,
    question: &'a Question,
    format: Format,
    /// stdout is a terminal: a table is redrawn in place.
    screen: bool,
}

// === impl Watch ===

impl Watch<'_> {
    async fn follow(&self) -> anyhow::Result<()> {
        let mut mirror = Mirror::default();
        let mut backoff = FIRST_BACKOFF;
        let mut seen_any = false;
        loop {
            let request = WatchMeshGraphRequest {
                resume_from: mirror.position(),
                namespace: self.question.watched_namespace(),
            };
            let broken = match self.mesh.watch(request).await {
                Ok(stream) => {
                    let (heard, status) = self.read(stream, &mut mirror).await?;
                    if heard {
                        (seen_any, backoff) = (true, FIRST_BACKOFF);
                    }
                    self.mesh.broken(status)
                }
                Err(error) => error,
            };
            if broken.is_final() || !seen_any {
                return Err(broken.into());
            }
            let wait = backoff.as_secs_f64();
            terminal::say(&format!("The watch broke ({broken}); trying again in {wait:.1}s."));
            sleep(backoff).await;
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
        }
    }

    /// Reads the stream to its end. Returns whether anything came, and why it ended; an error is one of printing or
    /// of asking again.
    async fn read(
        &self,
        mut stream: Streaming<WatchMeshGraphResponse>,
        mirror: &mut Mirror,
    ) -> anyhow::Result<(bool, Status)> {
        let mut heard = false;
        let mut redraw_at: Option<Instant> = None;
        let status = loop {
            let redraw = async {
                match redraw_at {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                message = stream.message() => match message {
                    Ok(Some(WatchMeshGraphResponse { event: Some(event) })) => {
                        heard = true;
                        if self.took(event, mirror)? {
                            redraw_at.get_or_insert_with(|| Instant::now() + REDRAW_INTERVAL);
                        }
                    }
                    // An event of a newer API that this command does not know.
                    Ok(Some(_)) => heard = true,
                    Ok(None) => break Status::aborted("the API ended it"),
                    Err(status) => break status,
                },
                () = redraw => {
                    redraw_at = None;
                    self.redraw(mirror).await?;
                }
            }
        };
        // What came just before the end is worth showing for the time until the watch is back.
        if redraw_at.is_some() {
            self.redraw(mirror).await?;
        }
        Ok((heard, status))
    }

    /// Takes in an event and prints it, where events are printed. True when what is shown is out of date.
    fn took(&self, event: Event, mirror: &mut Mirror) -> anyhow::Result<bool> {
        let changed = matches!(event, Event::Snapshot(_) | Event::Delta(_) | Event::Metrics(_));
        let bookmark = matches!(event, Event::Bookmark(_));
        let events = self.question.is_everything();
        match self.format {
            Format::Json if events => terminal::data(json::line(&event::document(&event)).as_bytes())?,
            Format::Yaml if events => {
                terminal::data(format!("---\n{}", yaml::document(&event::document(&event))).as_bytes())?;
            }
            _ => {
                mirror.apply(event);
                // A bookmark changes nothing but how fresh the screen is.
                return Ok(changed || (bookmark && self.screen));
            }
        }
        mirror.apply(event);
        Ok(false)
    }

    async fn redraw(&self, mirror: &Mirror) -> anyhow::Result<()> {
        let graph = match self.question.is_everything() {
            true => mirror.graph(),
            false => match self.question.ask(self.mesh, self.format.view()).await {
                Ok(answer) => answer.graph,
                Err(error) if error.is_final() => return Err(error.into()),
                // The stream will notice too, and say so.
                Err(_) => return Ok(()),
            },
        };
        let shown = match self.format {
            Format::Json => json::line(&event::answer(&graph)),
            Format::Yaml => format!("---\n{}", yaml::document(&event::answer(&graph))),
            _ if self.screen => self.screenful(&graph),
            _ => format!("{}\n", self.format.print(&graph)),
        };
        terminal::data(shown.as_bytes())
    }

    /// The table from the upper left corner, no longer than the screen: what scrolls away cannot be redrawn.
    fn screenful(&self, graph: &MeshGraph) -> String {
        let mut lines = freshness::sentences(graph.freshness.as_ref());
        for line in &mut lines {
            *line = crate::output::text::clean_line(line);
        }
        lines.push(String::new());
        let height = terminal::height().saturating_sub(lines.len() + 3).max(1);
        let body = match self.format {
            Format::Wide => wide::print(graph),
            _ => table::print_first(graph, height),
        };
        if body.is_empty() {
            lines.push(self.question.nothing());
        }
        lines.extend(body.lines().map(str::to_owned));
        // Home, each line to its end, and the rest of the screen: nothing flickers.
        let mut shown = String::from("\u{1b}[H");
        for line in lines {
            shown.push_str(&line);
            shown.push_str("\u{1b}[K\n");
        }
        shown.push_str("\u{1b}[J");
        shown
    }
}
