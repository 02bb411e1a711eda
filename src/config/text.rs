//! Values that the file writes as strings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::notes::{Complaint, shown};
use super::read::FromText;
use super::units;

impl FromText for String {
    const WHAT: &'static str = "a string";

    fn example() -> String {
        "in quotes".to_owned()
    }

    fn from_text(text: &str) -> Result<String, Complaint> {
        Ok(text.to_owned())
    }
}

impl FromText for Duration {
    const WHAT: &'static str = "a duration with its unit";

    fn example() -> String {
        "for example \"10s\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Duration, Complaint> {
        units::parse_duration(text).ok_or_else(|| {
            Complaint::new(format!("{} is not a duration", shown(text)))
                .hint("a number and a unit, for example \"10s\", \"5m\", \"2h\" or \"7d\"")
        })
    }
}

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Size(pub(super) u64);

impl FromText for Size {
    const WHAT: &'static str = "a size with its unit";

    fn example() -> String {
        "for example \"512MiB\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Size, Complaint> {
        units::parse_size(text).map(Size).ok_or_else(|| {
            Complaint::new(format!("{} is not a size", shown(text)))
                .hint("a whole number and a unit, for example \"512MiB\", \"1GiB\" or \"20MB\"")
        })
    }
}

/// What a path in the file means must not depend on where the daemon was started.
impl FromText for PathBuf {
    const WHAT: &'static str = "a path";

    fn example() -> String {
        "for example \"/var/lib/…\"".to_owned()
    }

    fn from_text(text: &str) -> Result<PathBuf, Complaint> {
        if text.contains('\0') {
            return Err(Complaint::new("a path must not have a NUL"));
        }
        let path = PathBuf::from(text);
        if path.is_absolute() {
            Ok(path)
        } else {
            Err(Complaint::new(format!("{} is not a full path", shown(text))).hint("it has to begin with /"))
        }
    }
}

impl FromText for SocketAddr {
    const WHAT: &'static str = "an address and a port";

    fn example() -> String {
        "for example \"127.0.0.1:7717\"".to_owned()
    }

    fn from_text(text: &str) -> Result<SocketAddr, Complaint> {
        text.parse().map_err(|_| {
            let hint = match text.rsplit_once(':') {
                Some(("localhost", port)) => format!("an address, not a name: \"127.0.0.1:{port}\""),
                _ => "for example \"127.0.0.1:7717\" or \"[::1]:7717\"".to_owned(),
            };
            Complaint::new(format!("{} is not an address and a port", shown(text))).hint(hint)
        })
    }
}

/// Permissions of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mode(pub(super) u32);

impl FromText for Mode {
    const WHAT: &'static str = "permissions in octal digits, in quotes";

    fn example() -> String {
        "for example \"0660\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Mode, Complaint> {
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        octal.then(|| u32::from_str_radix(text, 8).ok()).flatten().filter(|mode| *mode <= 0o777).map(Mode).ok_or_else(
            || Complaint::new(format!("{} are no permissions", shown(text))).hint("\"0000\" to \"0777\", as in chmod"),
        )
    }
}
