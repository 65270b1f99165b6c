//! A ServiceAccount, as flags name it.

use std::{fmt, str::FromStr};

/// A ServiceAccount of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Text that names none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write NAMESPACE/NAME, as in `shop/deployer`")]
pub(crate) struct ParseError;

impl FromStr for Account {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (namespace, name) = text.split_once('/').ok_or(ParseError)?;
        let fits = |it: &str| {
            let inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-.".contains(&it);
            !it.is_empty() && it.len() <= 253 && it.bytes().all(inner)
        };
        if fits(namespace) && fits(name) {
            Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
        } else {
            Err(ParseError)
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_a_namespace_and_a_name() {
        assert_eq!("shop/deploy.bot".parse::<Account>().unwrap().to_string(), "shop/deploy.bot");
        for wrong in ["deployer", "/deployer", "shop/", "a/b/c", "Shop/x", "shop/x y", ""] {
            assert!(wrong.parse::<Account>().is_err(), "{wrong}");
        }
    }
}
