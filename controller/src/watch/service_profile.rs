//! A ServiceProfile: that it exists is all that matters; its name is the Service's DNS name. Only its metadata is
//! asked for.

use super::{
    FactError,
    object::{self, MetadataOnly},
};
use crate::graph::fact::Fact;
use std::sync::Arc;

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    let object: MetadataOnly = object::read(json)?;
    Ok(Fact::ServiceProfile(Arc::new(object.metadata.key()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::fact::Key;

    #[test]
    fn its_name_is_the_fact() {
        let json = r#"{"metadata": {"namespace": "shop", "name": "web.shop.svc.cluster.local"},
            "spec": {"routes": [{"name": "GET /", "condition": {"method": "GET"}}]}}"#;
        assert_eq!(
            fact(json).expect("a ServiceProfile"),
            Fact::ServiceProfile(Arc::new(Key::new("shop", "web.shop.svc.cluster.local")))
        );
    }
}
