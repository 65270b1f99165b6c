//! Groups to impersonate. `linkerd check` forwards its list in one flag, as Go prints lists: `[]`, `[a,b]`.

use std::{convert::Infallible, str::FromStr};

/// The groups that one `--as-group` names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Groups(pub(crate) Vec<String>);

impl FromStr for Groups {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let groups = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(list) => list.split(',').map(str::trim).collect(),
            None => vec![text],
        };
        Ok(Self(groups.into_iter().filter(|group| !group.is_empty()).map(str::to_owned).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_as_go_prints_it_is_taken_apart_and_a_plain_name_is_not() {
        let groups = |text: &str| text.parse::<Groups>().unwrap().0;
        assert_eq!(groups("[]"), Vec::<String>::new());
        assert_eq!(groups("[dev,system:masters]"), ["dev", "system:masters"]);
        assert_eq!(groups("a,b"), ["a,b"]);
        assert_eq!(groups(""), Vec::<String>::new());
    }
}
