//! What rmcp calls: the protocol's methods, each measured and logged, over our own tables.
#![expect(deprecated, reason = "older revisions have logging/setLevel and subscriptions to one resource")]

use super::{
    Context, budget,
    gate::Caller,
    metrics::McpMetrics,
    offer::{Offer, no_resource, offers},
    resource::{list, row_of, uri},
    tool::{Answer, Call, Person, Reply, TOOLS, Tool, ToolError, effect::Effect},
};
use crate::{
    audit::Trace,
    authorization::{Asker, Granted, Refused},
    rights::table::Surface,
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestMethod,
        CompleteRequestParams, CompleteResult, ConstString, ContentBlock, GetPromptRequestMethod,
        GetPromptRequestParams, GetPromptResponse, JsonObject, ListPromptsRequestMethod, ListPromptsResult,
        ListResourceTemplatesRequestMethod, ListResourceTemplatesResult, ListResourcesRequestMethod,
        ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
        ReadResourceRequestMethod, ReadResourceRequestParams, ReadResourceResponse, Reference, ServerConfig,
        SetLevelRequestMethod, SetLevelRequestParams, SubscribeRequestMethod, SubscribeRequestParams,
        SubscriptionFilter, Tool as Definition, UnsubscribeRequestMethod, UnsubscribeRequestParams,
    },
    service::{NotificationContext, RequestContext, SubscriptionContext},
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};
use told::info;
use underway::Underway;

mod told;
mod underway;

/// How long a tool may take.
const TOOL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one that changes something may take: a person thinks before they say yes.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(300);

/// How long clients may keep a list that only configuration changes.
const LIST_TTL_MS: u64 = 60_000;

/// How long they may keep the list of what is in the mesh.
const RESOURCES_TTL_MS: u64 = 5_000;

/// The server. Cloning shares it: rmcp makes one for each request.
#[derive(Debug, Clone)]
pub(crate) struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    context: Context,
    metrics: McpMetrics,
    /// [`TOOLS`] with their schemas, made once.
    tools: Vec<(Tool, Definition)>,
    /// What else there is.
    offers: Vec<Arc<dyn Offer>>,
    /// What clients are told of all that.
    info: ServerConfig,
}

// === impl Server ===

impl Server {
    pub(crate) fn new(context: Context, metrics: McpMetrics) -> Self {
        let tools = TOOLS.iter().map(|tool| (*tool, tool.definition())).collect();
        let offers = offers(&context);
        let info = info(&offers);
        Self(Arc::new(Inner { context, metrics, tools, offers, info }))
    }

    /// The first offer of which something is true.
    fn offer(&self, has: impl Fn(&dyn Offer) -> bool) -> Option<&Arc<dyn Offer>> {
        self.0.offers.iter().find(|it| has(&***it))
    }

    fn find(&self, name: &str) -> Option<&(Tool, Definition)> {
        self.0.tools.iter().find(|(tool, _)| tool.name == name)
    }

    /// True when there is such a tool in the table.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// True when it is answered without asking anybody anything.
    pub(crate) fn answers_at_once(&self, name: &str) -> bool {
        self.find(name).is_some_and(|(tool, _)| tool.effect != Effect::Changes)
    }

    /// Who asks. The trace may stand in the request's `_meta` too (MCP reserves `traceparent` there); a header, which the
    /// mesh goes on with, comes first.
    fn asker(&self, asked: &RequestContext<RoleServer>) -> Asker {
        let authorization = &self.0.context.authorization;
        let (none, empty) = (http::Extensions::new(), http::HeaderMap::new());
        let (extensions, headers) = match asked.extensions.get::<http::request::Parts>() {
            Some(parts) => (&parts.extensions, &parts.headers),
            None => (&none, &empty),
        };
        let asker = authorization.asker(extensions, headers);
        let in_meta = || Trace::read(asked.meta.get("traceparent")?.as_str()?);
        let trace = Trace::given(headers).or_else(in_meta).unwrap_or(asker.trace);
        Asker { trace, ..asker }
    }

    /// Lets a request through, and puts what was granted with it for those who answer.
    async fn admit(
        &self,
        surface: Surface,
        name: &str,
        asked: &mut RequestContext<RoleServer>,
    ) -> Result<Arc<Granted>, Refused> {
        let Context { authorization, replica, .. } = &self.0.context;
        let asker = self.asker(asked);
        // Boxed, as below: rmcp's future has that of every method in it.
        let granted = Box::pin(authorization.admit(surface, name, &asker, replica)).await?;
        let granted = Arc::new(granted);
        asked.extensions.insert(granted.clone());
        Ok(granted)
    }

    /// Whether the caller may use something, for lists of what there is.
    async fn may_use(&self, surface: Surface, name: &str, asker: &Asker) -> Result<bool, Refused> {
        let Context { authorization, replica, .. } = &self.0.context;
        match Box::pin(authorization.may_use(surface, name, asker, replica)).await {
            Ok(_) => Ok(true),
            Err(refused) if refused.is_undecided() => Err(refused),
            Err(_) => Ok(false),
        }
    }

    /// The tools that are here and now, and that the caller may use.
    async fn tools_for(&self, asker: &Asker) -> Result<Vec<Definition>, ErrorData> {
        let mut tools = Vec::new();
        for (tool, definition) in &self.0.tools {
            if self.0.context.offers(tool).is_ok() && self.may_use(Surface::Tool, tool.name, asker).await? {
                tools.push(definition.clone());
            }
        }
        for offer in &self.0.offers {
            for tool in offer.tools() {
                if offer.is_open() || self.may_use(Surface::Tool, &tool.name, asker).await? {
                    tools.push(tool.clone());
                }
            }
        }
        Ok(tools)
    }

    /// Counts a method and how it went.
    fn measured<T>(
        &self,
        method: &'static str,
        started: Instant,
        result: Result<T, ErrorData>,
    ) -> Result<T, ErrorData> {
        let status = if result.is_ok() { "ok" } else { "error" };
        self.0.metrics.answered(method, status, started.elapsed());
        result
    }

    /// Calls a tool of the table, counts the call and logs it. The one way to a tool, however the request came: whatever
    /// decides whether a caller may call belongs in here.
    ///
    /// The outer error is one of the protocol, the inner one is for the model. Dropped before its end, or once `cancelled`
    /// is ready, the call is given up.
    pub(crate) async fn tool(
        &self,
        name: &str,
        arguments: Option<JsonObject>,
        asker: &Asker,
        caller: &Caller,
        person: Option<Box<Person>>,
        cancelled: impl Future<Output = ()> + Send,
    ) -> Result<Result<Reply, ToolError>, ErrorData> {
        let mut under = Underway::begin(self, caller);
        let Some((tool, definition)) = self.find(name) else {
            let names: Vec<&str> = self.0.context.offered().map(|tool| tool.name).collect();
            let message = format!("there is no such tool; there are {}", names.join(", "));
            return under.refused("unknown_tool", message);
        };
        under.tool = Some(tool);
        if let Err(absent) = self.0.context.offers(tool) {
            return under.refused(absent.status(), format!("there is no tool {}: {absent}", tool.name));
        }
        let Context { authorization, replica, .. } = &self.0.context;
        // Boxed: rmcp's future has that of every method in it.
        let granted = match Box::pin(authorization.admit(Surface::Tool, tool.name, asker, replica)).await {
            Ok(granted) => Arc::new(granted),
            Err(refused) => {
                let error = ToolError::from(refused);
                under.status = error.status();
                return Ok(Err(error));
            }
        };
        let call = Call {
            context: self.0.context.scoped(&granted),
            arguments,
            schema: definition.input_schema.clone(),
            person: person.filter(|_| tool.effect == Effect::Changes),
        };
        let answer = tokio::select! {
            biased;
            answer = self.run(tool, call, caller) => answer,
            () = cancelled => Err(ToolError::Cancelled),
        };
        under.status = match &answer {
            Ok(Reply::Answer(_)) => "ok",
            Ok(Reply::Ask(_)) => "asks",
            Err(error) => error.status(),
        };
        Ok(answer)
    }

    async fn run(&self, tool: &Tool, call: Call, caller: &Caller) -> Result<Reply, ToolError> {
        // Held until there is an answer, or nobody waits for one.
        let _place = match budget::leaves(tool) {
            true => {
                let per_second = self.0.context.settings.load().calls_per_second;
                Some(self.0.context.budget.begin(caller, per_second)?)
            }
            false => None,
        };
        let patience = if tool.effect == Effect::Changes { CHANGE_TIMEOUT } else { TOOL_TIMEOUT };
        timeout(patience, (tool.run)(call)).await.unwrap_or(Err(ToolError::Timeout))
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        self.0.info.clone()
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let started = Instant::now();
        let answer = async {
            one_page(request)?;
            let tools = self.tools_for(&self.asker(&context)).await?;
            Ok(ListToolsResult::with_all_items(tools)
                .with_ttl_ms(LIST_TTL_MS)
                .with_cache_scope(CacheScope::Private))
        };
        let answer = answer.await;
        self.measured("tools/list", started, answer)
    }

    fn get_tool(&self, name: &str) -> Option<Definition> {
        let mut offered = self.0.offers.iter().flat_map(|it| it.tools());
        match self.find(name) {
            Some((_, definition)) => Some(definition.clone()),
            None => offered.find(|it| it.name == name).cloned(),
        }
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if !self.has(&request.name)
            && let Some(offer) = self.offer(|it| it.tools().iter().any(|tool| tool.name == request.name))
        {
            let started = Instant::now();
            let answer = async {
                if !offer.is_open()
                    && let Err(refused) = self.admit(Surface::Tool, &request.name, &mut context).await
                {
                    return Ok(CallToolResponse::Complete(ToolError::from(refused).result()));
                }
                offer.call(request, context).await
            };
            let answer = answer.await;
            return self.measured("tools/call", started, answer);
        }
        let (asker, caller) = (self.asker(&context), caller(&context));
        let CallToolRequestParams { name, arguments, input_responses: responses, .. } = request;
        let person = Box::new(Person { asked: context.clone(), responses });
        let cancelled = context.ct.cancelled();
        let result = match self.tool(&name, arguments, &asker, &caller, Some(person), cancelled).await? {
            Ok(Reply::Answer(Answer { structured, text })) => {
                let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
                result.structured_content = Some(structured.value());
                result
            }
            Ok(Reply::Ask(ask)) => return Ok(ask),
            Err(error) => error.result(),
        };
        Ok(CallToolResponse::Complete(result))
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        mut context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let started = Instant::now();
        let announced = self.0.info.capabilities.resources.is_some();
        let answer = async {
            announced_list::<ListResourcesRequestMethod>(announced)?;
            // All that are listed need the same right; one who does not have it has none.
            if self.may_use(Surface::Resource, uri::GRAPH, &self.asker(&context)).await? {
                self.admit(Surface::Resource, uri::GRAPH, &mut context).await?;
            }
            let all: Vec<_> = self.0.offers.iter().flat_map(|it| it.resources(&context)).collect();
            let (page, next_cursor) = list::page(&all, request)?;
            let mut result = ListResourcesResult::with_all_items(page)
                .with_ttl_ms(RESOURCES_TTL_MS)
                .with_cache_scope(CacheScope::Private);
            result.next_cursor = next_cursor;
            Ok(result)
        };
        let answer = answer.await;
        self.measured("resources/list", started, answer)
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let started = Instant::now();
        let announced = self.0.info.capabilities.resources.is_some();
        let answer = async {
            announced_page::<ListResourceTemplatesRequestMethod>(announced, request)?;
            let (asker, mut all) = (self.asker(&context), Vec::new());
            for offer in &self.0.offers {
                for template in offer.templates() {
                    let name = &template.uri_template;
                    if offer.is_open() || self.may_use(Surface::Resource, name, &asker).await? {
                        all.push(template);
                    }
                }
            }
            Ok(ListResourceTemplatesResult::with_all_items(all)
                .with_ttl_ms(LIST_TTL_MS)
                .with_cache_scope(CacheScope::Private))
        };
        let answer = answer.await;
        self.measured("resources/templates/list", started, answer)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let started = Instant::now();
        let mut answer = match self.offer(|it| it.has_resource(&request.uri)) {
            Some(offer) if offer.is_open() => offer.read(request, context).await,
            Some(offer) => match row_of(&request.uri) {
                None => Err(no_resource(&request.uri)),
                Some(row) => match self.admit(Surface::Resource, row, &mut context).await {
                    Ok(_) => offer.read(request, context).await,
                    Err(refused) => Err(refused.into()),
                },
            },
            None if self.0.info.capabilities.resources.is_some() => Err(no_resource(&request.uri)),
            None => Err(ErrorData::method_not_found::<ReadResourceRequestMethod>()),
        };
        if let Ok(ReadResourceResponse::Complete(result)) = &mut answer {
            result.ttl_ms.get_or_insert(0);
            result.cache_scope.get_or_insert(CacheScope::Private);
        }
        self.measured("resources/read", started, answer)
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let started = Instant::now();
        let announced = self.0.info.capabilities.prompts.is_some();
        let answer = async {
            announced_page::<ListPromptsRequestMethod>(announced, request)?;
            let (asker, mut all) = (self.asker(&context), Vec::new());
            for offer in &self.0.offers {
                for prompt in offer.prompts() {
                    if offer.is_open() || self.may_use(Surface::Prompt, &prompt.name, &asker).await? {
                        all.push(prompt.clone());
                    }
                }
            }
            Ok(ListPromptsResult::with_all_items(all)
                .with_ttl_ms(LIST_TTL_MS)
                .with_cache_scope(CacheScope::Private))
        };
        let answer = answer.await;
        self.measured("prompts/list", started, answer)
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let started = Instant::now();
        let answer = match self.offer(|it| it.prompts().iter().any(|prompt| prompt.name == request.name)) {
            Some(offer) if offer.is_open() => offer.prompt(request, context).await,
            Some(offer) => match self.admit(Surface::Prompt, &request.name, &mut context).await {
                Ok(_) => offer.prompt(request, context).await,
                Err(refused) => Err(refused.into()),
            },
            None if self.0.info.capabilities.prompts.is_some() => {
                Err(ErrorData::invalid_params("there is no such prompt; prompts/list has all", None))
            }
            None => Err(ErrorData::method_not_found::<GetPromptRequestMethod>()),
        };
        self.measured("prompts/get", started, answer)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let started = Instant::now();
        let answer = match self.offer(|it| it.completes(&request.r#ref)) {
            Some(offer) if offer.is_open() => offer.complete(request, context).await,
            Some(offer) => {
                let (surface, name) = match &request.r#ref {
                    Reference::Prompt(prompt) => (Surface::Prompt, prompt.name.clone()),
                    Reference::Resource(template) => (Surface::Resource, template.uri.clone()),
                    // Has no row, and is refused.
                    _ => (Surface::Resource, String::new()),
                };
                match self.admit(surface, &name, &mut context).await {
                    Ok(_) => offer.complete(request, context).await,
                    Err(refused) => Err(refused.into()),
                }
            }
            None if self.0.info.capabilities.completions.is_some() => {
                Err(ErrorData::invalid_params("there is no such prompt or resource template", None))
            }
            None => Err(ErrorData::method_not_found::<CompleteRequestMethod>()),
        };
        self.measured("completion/complete", started, answer)
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let accepted = self.0.offers.iter().map(|it| it.accept(requested));
        accepted.reduce(union)
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let Context { authorization, replica, .. } = &self.0.context;
        let asker = self.asker(subscription.request_context());
        let granted = authorization.admit(Surface::Mcp, "subscriptions/listen", &asker, replica);
        let granted = Box::pin(granted).await?;
        let (subscription, granted) = (Arc::new(subscription), Arc::new(granted));
        let offers = self.0.offers.iter().map(|it| it.listen(subscription.clone(), granted.clone()));
        let all = futures::future::try_join_all(offers);
        tokio::select! {
            () = subscription.cancelled() => Ok(()),
            // Those that have nothing to send return at once; the stream is the client's to close.
            refused = async {
                match all.await {
                    Ok(_) => std::future::pending().await,
                    Err(error) => error,
                }
            } => Err(refused),
        }
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let started = Instant::now();
        let answer = match self.offer(|it| it.has_resource(&request.uri)) {
            Some(offer) if offer.is_open() => offer.subscribe(request.uri, context).await,
            Some(offer) => match self.admit(Surface::Mcp, "resources/subscribe", &mut context).await {
                Ok(_) => offer.subscribe(request.uri, context).await,
                Err(refused) => Err(refused.into()),
            },
            None if self.0.info.capabilities.resources.is_some() => Err(no_resource(&request.uri)),
            None => Err(ErrorData::method_not_found::<SubscribeRequestMethod>()),
        };
        self.measured("resources/subscribe", started, answer)
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let started = Instant::now();
        let answer = match self.offer(|it| it.has_resource(&request.uri)) {
            Some(offer) => offer.unsubscribe(request.uri, context).await,
            None if self.0.info.capabilities.resources.is_some() => Err(no_resource(&request.uri)),
            None => Err(ErrorData::method_not_found::<UnsubscribeRequestMethod>()),
        };
        self.measured("resources/unsubscribe", started, answer)
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        for offer in &self.0.offers {
            offer.opened(&context.peer);
        }
    }

    async fn set_level(
        &self,
        _: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let started = Instant::now();
        let stateless = context.protocol_version().is_some_and(|it| it >= ProtocolVersion::V_2026_07_28);
        let answer = match self.offer(|it| it.logs()) {
            Some(_) if !stateless => Ok(()),
            _ => Err(ErrorData::method_not_found::<SetLevelRequestMethod>()),
        };
        self.measured("logging/setLevel", started, answer)
    }
}

/// All lists but that of resources fit on one page, so no cursor was ever given.
fn one_page(request: Option<PaginatedRequestParams>) -> Result<(), ErrorData> {
    match request.and_then(|it| it.cursor) {
        Some(_) => Err(ErrorData::invalid_params("there is no such cursor: leave it out", None)),
        None => Ok(()),
    }
}

/// A list of what is there only when it is announced.
fn announced_list<M: ConstString>(announced: bool) -> Result<(), ErrorData> {
    if announced { Ok(()) } else { Err(ErrorData::method_not_found::<M>()) }
}

/// The same for one that fits on one page.
fn announced_page<M: ConstString>(
    announced: bool,
    request: Option<PaginatedRequestParams>,
) -> Result<(), ErrorData> {
    announced_list::<M>(announced)?;
    one_page(request)
}

/// What either can serve.
fn union(one: SubscriptionFilter, other: SubscriptionFilter) -> SubscriptionFilter {
    let either = |one: Option<bool>, other: Option<bool>| match (one, other) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        _ => None,
    };
    let mut all = SubscriptionFilter::new();
    all.tools_list_changed = either(one.tools_list_changed, other.tools_list_changed);
    all.prompts_list_changed = either(one.prompts_list_changed, other.prompts_list_changed);
    all.resources_list_changed = either(one.resources_list_changed, other.resources_list_changed);
    let uris = [one.resource_subscriptions, other.resource_subscriptions];
    if uris.iter().any(Option::is_some) {
        let mut uris: Vec<String> = uris.into_iter().flatten().flatten().collect();
        uris.sort_unstable();
        uris.dedup();
        all.resource_subscriptions = Some(uris);
    }
    all
}

/// Who asks: the gate has put it there; over stdio it is whoever started this process.
pub(super) fn caller(context: &RequestContext<RoleServer>) -> Caller {
    context
        .extensions
        .get::<http::request::Parts>()
        .and_then(|parts| parts.extensions.get::<Caller>())
        .cloned()
        .unwrap_or_else(Caller::local)
}
