//! Server-Sent Events, as they come: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use anyhow::{Result, ensure};

/// The longest message that is taken, bytes: a stack trace has at most 64 KiB, which JSON may make six times as many.
const LIMIT_BYTES: usize = 1 << 20;

/// One message of a stream.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Message {
    /// Its place in the journal, if it has one.
    pub(super) id: Option<u64>,
    pub(super) event: String,
    pub(super) data: String,
}

/// What came, up to the end of the last message that is whole.
#[derive(Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    message: Message,
}

impl Parser {
    /// Takes in a piece of the stream, and gives the messages that it completes.
    ///
    /// # Errors
    /// When a message is too long.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let length = self.line.len() + part.len() + self.message.data.len();
            ensure!(length <= LIMIT_BYTES, "a message of the stream is longer than {LIMIT_BYTES} bytes");
            self.line.extend_from_slice(part);
            if self.line.pop_if(|byte| *byte == b'\n').is_some() {
                self.line.pop_if(|byte| *byte == b'\r');
                let line = std::mem::take(&mut self.line);
                messages.extend(self.take(&String::from_utf8_lossy(&line)));
            }
        }
        Ok(messages)
    }

    /// Takes in a line; an empty one ends a message, one without data being none.
    fn take(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            return Some(std::mem::take(&mut self.message)).filter(|message| !message.data.is_empty());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.message.id = value.parse().ok(),
            "event" => value.clone_into(&mut self.message.event),
            "data" => {
                if !self.message.data.is_empty() {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
            }
            // A comment, or what is for browsers.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "retry: 2000\nevent: hello\ndata: {}\n\n:\n\nid: 7\nevent: event\ndata: {\"a\":\ndata: 1}\r\n\r\ndata: é\n\nid: 8\n\ndata: torn";

    fn heard(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<Message> {
        let mut parser = Parser::default();
        pieces.flat_map(|piece| parser.push(&piece).unwrap()).collect()
    }

    #[test]
    fn messages_however_they_are_cut() {
        let message = |id, event: &str, data: &str| Message { id, event: event.to_owned(), data: data.to_owned() };
        let expected = [message(None, "hello", "{}"), message(Some(7), "event", "{\"a\":\n1}"), message(None, "", "é")];
        for size in 1..STREAM.len() {
            assert_eq!(heard(STREAM.as_bytes().chunks(size).map(<[u8]>::to_vec)), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_stream_without_end_of_message_is_no_stream() {
        let piece = vec![b'x'; LIMIT_BYTES / 4];
        for end in ["", "\n"] {
            let mut parser = Parser::default();
            parser.push(b"data: ").unwrap();
            let outcome = (0..5).try_for_each(|_| {
                parser.push(&piece)?;
                parser.push(end.as_bytes())?;
                parser.push(if end.is_empty() { b"" } else { b"data: " }).map(drop)
            });
            assert!(outcome.unwrap_err().to_string().contains("longer than"));
        }
    }
}
