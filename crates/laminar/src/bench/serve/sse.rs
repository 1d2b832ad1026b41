//! Server-sent events out of bytes that arrive in pieces of any size.
//!
//! Only the `data` field matters here; comments and other fields are skipped
//! (HTML standard, section 9.2.6).

/// Longest event in bytes; a server that sends more is not one we can measure.
const MAX_EVENT: usize = 8 << 20;

/// Cuts a stream of bytes into events.
#[derive(Debug, Default)]
pub struct Splitter {
    line: Vec<u8>,
    data: String,
    has_data: bool,
    /// The last byte was a carriage return: a line feed after it belongs to it.
    after_return: bool,
}

/// An event was longer than [`MAX_EVENT`].
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl Splitter {
    /// Takes the next bytes and adds the data of every event that they complete to `events`.
    ///
    /// # Errors
    /// An event that is too long.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<String>) -> Result<(), TooLong> {
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => self.end_line(events),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > MAX_EVENT {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<String>) {
        if self.line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                events.push(std::mem::take(&mut self.data));
            }
            return;
        }
        if let Some(value) = self.line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            if self.has_data {
                self.data.push('\n');
            }
            self.has_data = true;
            self.data.push_str(&String::from_utf8_lossy(value));
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        for piece in pieces {
            splitter.push(piece, &mut events).unwrap();
        }
        events
    }

    #[test]
    fn events_are_the_same_wherever_the_bytes_are_cut() {
        let stream =
            "data: {\"a\":\"é😀\"}\n\n: waiting\n\nevent: x\r\ndata:one\r\ndata: two\r\n\r\nid: 7\n\ndata: [DONE]\r\r";
        let expected = ["{\"a\":\"é😀\"}", "one\ntwo", "[DONE]"];
        let bytes = stream.as_bytes();
        assert_eq!(split(&[bytes]), expected);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(split(&pieces), expected, "cut at {first} and {second}");
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(split(&single), expected);
    }

    #[test]
    fn an_event_that_is_not_closed_is_none() {
        assert!(split(&[b"data: half"]).is_empty());
        assert!(split(&[b"data: half\n"]).is_empty());
        assert_eq!(split(&[b"data:\n\n"]), [""]);
    }

    #[test]
    fn an_endless_event_is_an_error() {
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        let piece = vec![b'x'; 1 << 20];
        let results: Vec<_> = (0..9).map(|_| splitter.push(&piece, &mut events)).collect();
        assert_eq!(results.last(), Some(&Err(TooLong)));
    }
}
