//! Flags for access tokens.

use super::{Error, Options, Resource};

/// Which access tokens are accepted, and from whom. Off unless there is an issuer.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct OAuthArgs {
    /// Authorization server whose access tokens are accepted from --oauth-gateway, as it names itself in them
    #[arg(
        long,
        env = "LINKERD_MCP_OAUTH_ISSUER",
        value_name = "URL",
        requires_all = ["oauth_audience", "oauth_gateways"]
    )]
    pub oauth_issuer: Option<String>,

    /// What access tokens have to be for: the URL that clients call this by, such as https://mcp.example/mcp
    #[arg(long, env = "LINKERD_MCP_OAUTH_AUDIENCE", value_name = "URL", requires = "oauth_issuer")]
    pub oauth_audience: Option<String>,

    /// Keys of the authorization server (JWKS); where its metadata says they are unless said otherwise
    #[arg(long, env = "LINKERD_MCP_OAUTH_JWKS_URL", value_name = "URL", requires = "oauth_issuer")]
    pub oauth_jwks_url: Option<String>,

    /// Scopes that an access token must have, separated by commas
    #[arg(
        long,
        env = "LINKERD_MCP_OAUTH_SCOPES",
        value_delimiter = ',',
        value_name = "SCOPES",
        requires = "oauth_issuer"
    )]
    pub oauth_scopes: Vec<String>,

    /// Claim with the groups of a caller; without it no access token gives any
    #[arg(long, env = "LINKERD_MCP_OAUTH_GROUPS_CLAIM", value_name = "CLAIM", requires = "oauth_issuer")]
    pub oauth_groups_claim: Option<String>,

    /// Mesh identity of an ingress that brings access tokens, and is nobody without one; may be repeated
    #[arg(
        long = "oauth-gateway",
        env = "LINKERD_MCP_OAUTH_GATEWAYS",
        value_delimiter = ',',
        value_name = "IDENTITY",
        requires = "oauth_issuer"
    )]
    pub oauth_gateways: Vec<String>,
}

// === impl OAuthArgs ===

impl OAuthArgs {
    /// What checks tokens; none without an issuer.
    ///
    /// # Errors
    ///
    /// When a flag is of no use.
    pub(crate) fn resource(self) -> Result<Option<Resource>, Error> {
        let Some(issuer) = self.oauth_issuer else { return Ok(None) };
        let options = Options {
            issuer,
            // Without one it is no URL, which is said.
            audience: self.oauth_audience.unwrap_or_default(),
            jwks_url: self.oauth_jwks_url,
            scopes: self.oauth_scopes,
            groups_claim: self.oauth_groups_claim,
            gateways: self.oauth_gateways,
        };
        Resource::new(options).map(Some)
    }
}
