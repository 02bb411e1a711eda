//! A command line as the `sysctl` `kern.procargs2` gives it: `sysctl_procargsx` of Apple's xnu. The number of arguments,
//! the path that was executed, zeros up to a multiple of 8, the arguments, the environment. The last is never looked at.

use crate::process::common::line;

/// The words of a command line, bounded; `None` for what is none.
pub(super) fn words(bytes: &[u8]) -> Option<Vec<Box<str>>> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_ne_bytes(*count)).ok()?;
    let path = rest.iter().position(|&byte| byte == 0)?;
    let gap = rest[path..].iter().position(|&byte| byte != 0).unwrap_or(rest.len() - path);
    let arguments = &rest[path + gap..];
    // As many ends as there are arguments: what follows is the environment.
    let ends = arguments.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at);
    let end = match count {
        0 => 0,
        count => ends.take(count).nth(count - 1).unwrap_or(arguments.len()),
    };
    Some(line::words(&arguments[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: i32, rest: &[u8]) -> Option<Vec<Box<str>>> {
        words(&[&count.to_ne_bytes(), rest].concat())
    }

    #[test]
    fn arguments_and_no_environment() {
        let text = b"/usr/local/bin/node\0\0\0\0\0node\0/x/cli.js\0--yes\0SECRET=1\0HOME=/\0\0";
        let expected = |words: &[&str]| Some(words.iter().map(|word| (*word).into()).collect());
        assert_eq!(of(3, text), expected(&["node", "/x/cli.js", "--yes"]));
        assert_eq!(of(1, text), expected(&["node"]));
        assert_eq!(of(0, text), expected(&[]));
        assert_eq!(of(2, b"/bin/x\0a\0\0b"), expected(&["a"]), "an empty last one says nothing");
        assert_eq!(of(3, b"/bin/x\0\0a\0\0b\0X=1\0"), expected(&["a", "", "b"]), "an empty one is one");
    }

    #[test]
    fn odd_ones() {
        for (count, rest) in [(-1, &b"/bin/x\0a\0"[..]), (1, b""), (1, b"/bin/x")] {
            assert_eq!(of(count, rest), None, "{count}");
        }
        assert_eq!(words(b"\0\0\0"), None);
        assert_eq!(of(i32::MAX, b"/bin/x\0a\0b").unwrap().len(), 2, "said to be more than there are");
        assert_eq!(of(2, b"/bin/x\0\0\0").unwrap().len(), 0);
    }
}
