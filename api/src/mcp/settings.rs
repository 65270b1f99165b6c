//! What operators decide about the endpoint while it runs: which tools there are, how often one caller may ask, which
//! web pages may.
//!
//! Flags give the defaults. A YAML file wins where it speaks, and is read again when its content changes:
//!
//! ```yaml
//! toolsets: {kubernetes: off}    # mesh, policy, prometheus, kubernetes, changes
//! tools: {get_pods: on}          # single ones; they win over their toolset
//! callsPerSecond: 20             # of one caller; 0 is no limit
//! allowedOrigins: [https://inspector.example]
//! ```
//!
//! [`Settings::read`] decides; [`live`] does the reading.

use super::{
    gate::origin::Origins,
    tool::{TOOLS, Tool, Toolset},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};
use std::{collections::BTreeMap, fmt, io};

pub(crate) mod live;

pub(crate) use live::Live;

/// The settings of one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Web pages that may ask.
    pub(crate) origins: Origins,
    /// Requests that one caller may make a second; 0 is no limit.
    pub(crate) calls_per_second: u32,
    toolsets: Toolsets,
    tools: BTreeMap<&'static str, bool>,
}

/// Why settings are not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there, or may not be read.
    #[error("the settings of the MCP endpoint cannot be read from {path}")]
    Read {
        /// Where it should be.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing is in it: most likely it is being written, and what was switched off must not come on meanwhile.
    #[error("the settings of the MCP endpoint are empty; write {{}} for none")]
    Empty,
    /// It is no file that somebody wrote by hand.
    #[error("the settings of the MCP endpoint are longer than {limit} bytes")]
    TooLarge {
        /// The most bytes.
        limit: usize,
    },
    /// It is no YAML, or says what there is no setting for.
    #[error(
        "the settings of the MCP endpoint cannot be understood; they have toolsets, tools, callsPerSecond and allowedOrigins"
    )]
    Yaml(#[source] serde_yaml::Error),
    /// There is no such tool to switch.
    #[error("`tools` names {name:?}, which is no tool; there are {known}")]
    Tool {
        /// As it was written.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A web page that no browser would name so.
    #[error(
        "{0:?} is no origin of a web page; write scheme and host, as in https://inspector.example or http://host:6274"
    )]
    Origin(String),
    /// More of something than anybody means.
    #[error("{what} has {given}, but may have at most {most}")]
    TooMany {
        /// Which setting.
        what: &'static str,
        /// What it has.
        given: usize,
        /// What it may have.
        most: usize,
    },
}

/// The most bytes of a file.
const MAX_BYTES: usize = 256 << 10;
const MAX_ORIGINS: usize = 100;
const MAX_CALLS: u32 = 1_000_000;

/// The file. What is absent stays as the flags have it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct File {
    toolsets: Option<Toolsets>,
    tools: Option<BTreeMap<String, Switch>>,
    calls_per_second: Option<u32>,
    allowed_origins: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Toolsets {
    mesh: Option<Switch>,
    policy: Option<Switch>,
    prometheus: Option<Switch>,
    kubernetes: Option<Switch>,
    changes: Option<Switch>,
}

/// On or off. Both ways to write it are in use: YAML 1.1 takes `off` for false, YAML 1.2 for a word.
#[derive(Debug, Clone, Copy)]
struct Switch(bool);

// === impl Settings ===

impl Settings {
    /// What flags say.
    ///
    /// # Errors
    ///
    /// When an origin is none, or there are too many of something.
    pub(crate) fn new(calls_per_second: u32, origins: &[String]) -> Result<Self, Error> {
        Ok(Self { calls_per_second: calls(calls_per_second)?, origins: pages(origins)?, ..Self::default() })
    }

    /// These, with what the file says in their place.
    ///
    /// # Errors
    ///
    /// When anything in the file is wrong: half of what somebody meant is not what they meant.
    pub(crate) fn read(&self, text: &[u8]) -> Result<Self, Error> {
        if text.len() > MAX_BYTES {
            return Err(Error::TooLarge { limit: MAX_BYTES });
        }
        if text.trim_ascii().is_empty() {
            return Err(Error::Empty);
        }
        // Comments alone say nothing.
        let file: Option<File> = serde_yaml::from_slice(text).map_err(Error::Yaml)?;
        let File { toolsets, tools, calls_per_second, allowed_origins } = file.unwrap_or_default();
        let mut settings = self.clone();
        if let Some(toolsets) = toolsets {
            settings.toolsets = toolsets;
        }
        for (name, Switch(on)) in tools.unwrap_or_default() {
            let tool = TOOLS.iter().find(|tool| tool.name == name).ok_or_else(|| Error::Tool {
                name: name.chars().take(100).collect(),
                known: TOOLS.iter().map(|tool| tool.name).collect::<Vec<_>>().join(", "),
            })?;
            settings.tools.insert(tool.name, on);
        }
        if let Some(count) = calls_per_second {
            settings.calls_per_second = calls(count)?;
        }
        if let Some(origins) = allowed_origins {
            settings.origins = pages(&origins)?;
        }
        Ok(settings)
    }

    /// False when an operator has switched it off, by itself or with its toolset.
    pub(crate) fn on(&self, tool: &Tool) -> bool {
        self.tools.get(tool.name).copied().unwrap_or_else(|| self.toolsets.on(tool.set))
    }

    /// The names of what is switched off.
    pub(crate) fn off(&self) -> Vec<&'static str> {
        TOOLS.iter().filter(|tool| !self.on(tool)).map(|tool| tool.name).collect()
    }
}

fn calls(count: u32) -> Result<u32, Error> {
    if count > MAX_CALLS {
        let given = usize::try_from(count).unwrap_or(usize::MAX);
        return Err(Error::TooMany { what: "callsPerSecond", given, most: 1_000_000 });
    }
    Ok(count)
}

fn pages(origins: &[String]) -> Result<Origins, Error> {
    if origins.len() > MAX_ORIGINS {
        return Err(Error::TooMany { what: "allowedOrigins", given: origins.len(), most: MAX_ORIGINS });
    }
    for origin in origins {
        if !page(origin) {
            return Err(Error::Origin(origin.chars().take(100).collect()));
        }
    }
    Ok(Origins::new(origins.to_vec()))
}

/// As a browser writes it: no path, no user, and nothing that stands for many.
fn page(origin: &str) -> bool {
    let Ok(uri) = origin.trim_end_matches('/').parse::<http::Uri>() else { return false };
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let host = uri.host().is_some_and(|host| !host.is_empty() && !host.contains('*'));
    bare && host
        && matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.authority().is_some_and(|it| !it.as_str().contains('@'))
}

// === impl Toolsets ===

impl Toolsets {
    fn on(&self, set: Toolset) -> bool {
        let switch = match set {
            Toolset::Mesh => self.mesh,
            Toolset::Policy => self.policy,
            Toolset::Prometheus => self.prometheus,
            Toolset::Kubernetes => self.kubernetes,
            Toolset::Changes => self.changes,
        };
        switch.is_none_or(|Switch(on)| on)
    }
}

// === impl Switch ===

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnOrOff;
        impl Visitor<'_> for OnOrOff {
            type Value = Switch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("on or off")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Switch, E> {
                Ok(Switch(on))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Switch, E> {
                match text {
                    "on" => Ok(Switch(true)),
                    "off" => Ok(Switch(false)),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(OnOrOff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn flags() -> Settings {
        Settings::new(7, &["https://flag.example".to_owned()]).unwrap()
    }

    fn why(text: &str) -> String {
        crate::chain::chain(&flags().read(text.as_bytes()).unwrap_err())
    }

    fn allows(settings: &Settings, origin: &'static str) -> bool {
        settings.origins.allow(&HeaderValue::from_static(origin))
    }

    #[test]
    fn the_file_wins_where_it_speaks_and_flags_stand_where_it_does_not() {
        for empty in ["# nothing yet\n", "{}", "tools: {}"] {
            let settings = flags().read(empty.as_bytes()).unwrap();
            assert_eq!((settings.calls_per_second, settings.off()), (7, Vec::new()), "{empty}");
            assert!(allows(&settings, "https://flag.example"), "{empty}");
        }
        let settings =
            flags().read(b"callsPerSecond: 0\nallowedOrigins: ['http://file.example:6274/']").unwrap();
        assert_eq!(settings.calls_per_second, 0);
        assert!(allows(&settings, "http://file.example:6274"));
        assert!(!allows(&settings, "https://flag.example"), "a list is taken whole");
    }

    #[test]
    fn a_tool_is_off_with_its_toolset_unless_it_is_named() {
        let settings =
            flags().read(b"toolsets: {kubernetes: off}\ntools: {get_pods: on, find_edges: false}").unwrap();
        assert_eq!(settings.off(), ["find_edges", "get_services", "get_deployments", "describe_resource"]);
    }

    #[test]
    fn every_toolset_can_be_switched_off() {
        for set in [Toolset::Mesh, Toolset::Policy, Toolset::Prometheus, Toolset::Kubernetes] {
            let settings = flags().read(format!("toolsets: {{{}: false}}", set.name()).as_bytes()).unwrap();
            let of_set: Vec<_> = TOOLS.iter().filter(|it| it.set == set).map(|it| it.name).collect();
            assert_eq!(settings.off(), of_set);
            assert!(!of_set.is_empty(), "{} has no tools", set.name());
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (text, parts) in [
            ("tools: {get_pod: off}", ["\"get_pod\", which is no tool", "get_pods"]),
            ("toolsets: {kube: off}", ["kube", "`mesh`, `policy`, `prometheus`, `kubernetes`, `changes`"]),
            ("toolset: {mesh: off}", ["unknown field `toolset`", "toolsets"]),
            ("toolsets: {mesh: maybe}", ["maybe", "on or off"]),
            ("callsPerSecond: -1", ["callsPerSecond", "u32"]),
            ("callsPerSecond: 2000000", ["callsPerSecond has 2000000", "at most 1000000"]),
            ("allowedOrigins: ['*']", ["\"*\" is no origin", "https://inspector.example"]),
            ("allowedOrigins: [https://a.example/path]", ["is no origin", "a.example/path"]),
            ("allowedOrigins: ['https://*.example']", ["is no origin", "*.example"]),
            ("allowedOrigins: [ftp://a.example]", ["is no origin", "ftp"]),
            ("allowedOrigins: [https://u@a.example]", ["is no origin", "u@"]),
            ("", ["are empty", "write {} for none"]),
            (" \n", ["are empty", "write {} for none"]),
            ("- a list", ["cannot be understood", "toolsets, tools"]),
            ("{", ["cannot be understood", "toolsets, tools"]),
        ] {
            let why = why(text);
            assert!(parts.iter().all(|part| why.contains(part)), "{text}: {why}");
        }
        let long = "#".repeat(MAX_BYTES + 1);
        assert!(why(&long).contains("longer than"), "a file may not be of any size");
    }
}
