//! What the tools that list objects have in common: what they are asked, whether the caller may, and what was read.

use super::{MAX_OBJECTS, allowed, client, deed, list, name};
use crate::{
    mcp::{
        page::{Page, Paging},
        tool::{Call, ToolError, asked},
    },
    view::View,
};
use kube::{Api, Resource, core::NamespaceResourceScope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fmt::Debug, sync::Arc};

/// What such a tool takes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::mcp) struct Arguments {
    /// The namespace; leave it out for all.
    namespace: Option<String>,
    /// Label selector, for example `app=web,tier!=cache`.
    selector: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

/// The objects that were asked for.
pub(in crate::mcp) struct Listed<K> {
    pub(in crate::mcp) objects: Vec<K>,
    pub(in crate::mcp) view: Arc<View>,
    asked: String,
    paging: Paging,
    cut: bool,
}

/// Which rows an answer has, and of how many objects.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Extent {
    #[serde(flatten)]
    page: Page,
    /// Present when there are so many that only the first 1,000 were read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

/// Reads the objects of a kind that the arguments of `tool` choose, if its caller may list them.
///
/// # Errors
///
/// When the arguments are wrong, the caller may not, or the API server has no answer.
pub(in crate::mcp) async fn listed<K>(call: &mut Call, tool: &'static str) -> Result<Listed<K>, ToolError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let asked = asked(call);
    let Arguments { namespace, selector, paging } = call.arguments()?;
    let view = call.view()?;
    let client = client(&call.context)?;
    let api: Api<K> = match &namespace {
        Some(namespace) => Api::namespaced(client, name("namespace", namespace)?),
        None => Api::all(client),
    };
    let resource = K::plural(&());
    let deed = deed("list", &K::group(&()), &resource, namespace.as_deref(), None);
    allowed(&call.context, tool, &deed).await?;
    let (objects, cut) = list(&api, &resource, selector.as_deref()).await?;
    Ok(Listed { objects, view, asked, paging, cut })
}

// === impl Listed ===

impl<K> Listed<K> {
    /// The rows of the page that was asked for.
    ///
    /// # Errors
    ///
    /// When the cursor is of another list.
    pub(in crate::mcp) fn page<T, R: Serialize>(
        &self,
        items: &[T],
        row: impl FnMut(&T) -> R,
    ) -> Result<(Vec<R>, Extent), ToolError> {
        let (rows, page) = self.paging.rows(&self.asked, items, row)?;
        Ok((rows, Extent { page, cut: self.cut }))
    }
}

// === impl Extent ===

impl Extent {
    /// What of the objects is not above, in sentences; `kind` as in `Pods`.
    pub(in crate::mcp) fn text(&self, kind: &str) -> String {
        let mut text = String::new();
        if self.cut {
            text =
                format!("Only the first {MAX_OBJECTS} {kind} were read: name a namespace or a selector.\n");
        }
        text + &self.page.text("choose with namespace or selector")
    }
}
