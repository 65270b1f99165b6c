//! Values from files, stdin and flags.

use super::{
    Error, Values, chart, parse,
    set::{self, As},
    values,
};
use crate::args::values::ValueArgs;
use std::{io::Read, path::Path};

/// More than this is no file of values.
const MAX_BYTES: u64 = 16 << 20;

/// What the flags set: `--ha`, then the files, then `--set`, `--set-string` and `--set-file`, as Helm orders them.
///
/// # Errors
/// What is wrong with a file or a flag.
pub(crate) fn read(args: &ValueArgs) -> Result<Values, Error> {
    let mut set = Values::new();
    if args.ha {
        values::merge(&mut set, parse("values-ha.yaml", chart::VALUES_HA)?);
    }
    for path in &args.values {
        let name = path.display().to_string();
        let text = text(path).map_err(|source| Error::Read { name: name.clone(), source })?;
        values::merge(&mut set, parse(&name, &text)?);
    }
    let flags = [
        ("--set", As::Typed, &args.set),
        ("--set-string", As::Text, &args.set_string),
        ("--set-file", As::File, &args.set_file),
    ];
    for (flag, kind, texts) in flags {
        for assignment in texts {
            set::assign(&mut set, assignment, kind, |name| text(Path::new(name)))
                .map_err(|source| Error::Set { flag, text: assignment.clone(), source })?;
        }
    }
    Ok(set)
}

fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = |from: &mut dyn Read, text: &mut String| from.take(MAX_BYTES + 1).read_to_string(text);
    match path.as_os_str() == "-" {
        true => read(&mut std::io::stdin().lock(), &mut text)?,
        false => read(&mut std::fs::File::open(path)?, &mut text)?,
    };
    if text.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other("it is larger than 16 MiB"));
    }
    Ok(text)
}
