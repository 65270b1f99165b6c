//! The edges of one poll next to those from before: what is the same stays the same value, and what had traffic a while
//! ago stays.

use super::{
    Survey,
    edges::{Assembled, Draft, Parts},
    numbered::{Few, Nth},
    places::{At, Places},
};
use crate::{
    id::{Destination, EdgeId, Text, WorkloadId},
    metrics::EdgeMetrics,
    model::{Edge, ObservedBy},
};
use ahash::{AHashMap, AHashSet};
use std::{mem, sync::Arc};

/// Drafts with their ids.
pub(super) struct Settled<'a> {
    survey: &'a Survey,
    /// In the order of ids.
    drafts: Vec<Identified<'a>>,
    /// Edges from before that no draft stands for, in the order of ids.
    gone: Vec<(&'a EdgeId, &'a Arc<Edge>)>,
}

/// A draft with its id, and the edge that had it before.
struct Identified<'a> {
    id: EdgeId,
    draft: Draft,
    known: Option<&'a Arc<Edge>>,
}

// === impl Settled ===

impl<'a> Settled<'a> {
    /// `drafts` are between `pairs`, in the order of their ids.
    pub(super) fn of(survey: &'a Survey, drafts: Vec<Draft>, pairs: &[(At, At)], parts: &Parts) -> Self {
        let mut settled = Self { survey, drafts: Vec::with_capacity(drafts.len()), gone: Vec::new() };
        let mut before = survey.edges.iter().peekable();
        for (draft, pair) in drafts.into_iter().zip(pairs) {
            while let Some(other) = before.next_if(|(id, _)| parts.order(id, *pair).is_lt()) {
                settled.gone.push(other);
            }
            let (id, known) = match before.next_if(|(id, _)| parts.order(id, *pair).is_eq()) {
                Some((id, edge)) => (id.clone(), Some(edge)),
                None => (parts.id(*pair), None),
            };
            settled.drafts.push(Identified { id, draft, known });
        }
        settled.gone.extend(before);
        settled
    }

    /// Takes in more drafts, in the order of their ids. One whose id is there already is left out.
    pub(super) fn add(&mut self, more: Vec<(EdgeId, Draft)>) {
        if more.is_empty() {
            return;
        }
        let mut drafts = Vec::with_capacity(self.drafts.len() + more.len());
        let mut there = mem::take(&mut self.drafts).into_iter().peekable();
        let (mut gone, mut still_gone) = (mem::take(&mut self.gone).into_iter().peekable(), Vec::new());
        for (id, draft) in more {
            while let Some(other) = there.next_if(|other| other.id < id) {
                drafts.push(other);
            }
            if there.peek().is_some_and(|other| other.id == id) {
                continue;
            }
            while let Some(other) = gone.next_if(|(other, _)| **other < id) {
                still_gone.push(other);
            }
            let (id, known) = match gone.next_if(|(other, _)| **other == id) {
                Some((same, edge)) => (same.clone(), Some(edge)),
                None => (id, None),
            };
            drafts.push(Identified { id, draft, known });
        }
        drafts.extend(there);
        still_gone.extend(gone);
        (self.drafts, self.gone) = (drafts, still_gone);
    }

    pub(super) fn assemble(self, places: &Places<'_>, now_ms: i64, retain_ms: i64) -> Assembled {
        let kept = self.kept(now_ms, retain_ms);
        let Self { survey, drafts, gone } = self;
        let mut assembled = Assembled { edges: survey.edges.clone(), ..Assembled::default() };
        let mut called = |edge: &Edge| {
            if let Destination::External(id) = &edge.dst {
                let callers = assembled.externals.entry(id.clone()).or_default();
                callers.extend(edge.src.namespace().map(Text::from));
            }
        };
        let mut ids = Vec::with_capacity(drafts.len() + kept.len());
        let mut rows = Vec::with_capacity(drafts.len() + kept.len());
        let mut new = Vec::new();
        let mut authorizations: AHashMap<Few<Nth>, Arc<[Text]>> = AHashMap::new();
        let mut waiting = kept.iter().peekable();
        for Identified { id, draft, known } in drafts {
            while let Some((id, edge, last_seen_ms)) = waiting.next_if(|(other, ..)| **other < id) {
                called(edge);
                ids.push((*id).clone());
                rows.push(EdgeMetrics { last_seen_ms: *last_seen_ms, ..EdgeMetrics::default() });
            }
            called(&draft.edge);
            let mut numbers = draft.numbers;
            numbers.last_seen_ms = Some(now_ms);
            if !draft.authorizations.is_empty() {
                // A handful of policies lets in all calls of a mesh.
                let named = authorizations
                    .entry(draft.authorizations)
                    .or_insert_with_key(|all| places.texts(all).into());
                numbers.authorized_by = named.clone();
            }
            if known.is_none_or(|known| **known != draft.edge) {
                new.push((id.clone(), Arc::new(draft.edge)));
            }
            ids.push(id);
            rows.push(numbers);
        }
        for (id, edge, last_seen_ms) in waiting {
            called(edge);
            ids.push((*id).clone());
            rows.push(EdgeMetrics { last_seen_ms: *last_seen_ms, ..EdgeMetrics::default() });
        }
        let mut kept = kept.iter().peekable();
        for (id, _) in gone {
            if kept.next_if(|(kept, ..)| *kept == id).is_none() {
                assembled.edges.remove(id);
            }
        }
        assembled.edges.extend(new);
        let before = &survey.metrics.ids;
        assembled.ids = if **before == *ids { before.clone() } else { ids.into() };
        assembled.rows = rows.into();
        assembled
    }

    /// Edges that had traffic a while ago, and when.
    fn kept(&self, now_ms: i64, retain_ms: i64) -> Vec<(&'a EdgeId, &'a Arc<Edge>, Option<i64>)> {
        let mut kept = Vec::new();
        let mut covered = None;
        for (id, edge) in &self.gone {
            let last_seen_ms = self.survey.metrics.get(id).and_then(|numbers| numbers.last_seen_ms);
            if last_seen_ms.is_some_and(|seen| now_ms - seen <= retain_ms)
                && !self.renamed(edge, &mut covered)
            {
                kept.push((*id, *edge, last_seen_ms));
            }
        }
        kept
    }

    /// What only the server saw before and the client's own proxy counts now is the same traffic under its full name.
    /// `covered` is made when it is first needed: the clients' identities with the workloads that answered them.
    fn renamed<'b>(
        &'b self,
        edge: &Edge,
        covered: &mut Option<AHashSet<(&'b Text, &'b WorkloadId)>>,
    ) -> bool {
        let (Some(identity), [at], ObservedBy::Server) =
            (&edge.client_identity, edge.workloads.as_slice(), edge.observed_by)
        else {
            return false;
        };
        let covered = covered.get_or_insert_with(|| {
            let edges = self.drafts.iter().map(|it| &it.draft.edge);
            let answered = |edge: &'b Edge| {
                let identity = edge.client_identity.as_ref();
                identity.into_iter().flat_map(|it| edge.workloads.iter().map(move |at| (it, at)))
            };
            edges.flat_map(answered).collect()
        });
        covered.contains(&(identity, at))
    }
}
