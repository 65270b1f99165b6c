//! A ServiceAccount: that it exists is all that matters. Only its metadata is asked for.

use super::{
    FactError,
    object::{self, MetadataOnly},
};
use crate::graph::fact::Fact;
use std::sync::Arc;

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    let object: MetadataOnly = object::read(json)?;
    Ok(Fact::ServiceAccount(Arc::new(object.metadata.key()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::fact::Key;

    #[test]
    fn its_name_is_the_fact() {
        let json =
            r#"{"metadata": {"namespace": "shop", "name": "bot"}, "secrets": [{"name": "bot-token"}]}"#;
        assert_eq!(
            fact(json).expect("a ServiceAccount"),
            Fact::ServiceAccount(Arc::new(Key::new("shop", "bot")))
        );
    }
}
