//! Responses that later ones may build on: in memory, the newest only.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Most responses kept.
const MAX_RESPONSES: usize = 1000;
/// Most bytes of JSON kept, all responses together.
const MAX_BYTES: usize = 64 << 20;

/// A response with the conversation that led to it.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// The response object.
    pub(super) response: Value,
    /// The conversation as chat messages, the answer included, instructions not.
    pub(super) messages: Vec<Value>,
}

/// Keeps the newest responses within bounds.
#[derive(Debug, Default)]
pub struct Store(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The oldest first, each with its size.
    kept: VecDeque<(String, usize, Kept)>,
    bytes: usize,
}

impl Store {
    /// Keeps a response; old ones go to make room.
    pub(super) fn keep(&self, id: &str, kept: Kept) {
        let size = kept.response.to_string().len()
            + kept.messages.iter().map(|message| message.to_string().len()).sum::<usize>();
        if size > MAX_BYTES {
            return;
        }
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.bytes += size;
        inner.kept.push_back((id.to_owned(), size, kept));
        while inner.kept.len() > MAX_RESPONSES || inner.bytes > MAX_BYTES {
            let Some((_, size, _)) = inner.kept.pop_front() else {
                break;
            };
            inner.bytes -= size;
        }
    }

    /// The response of an id.
    pub(super) fn get(&self, id: &str) -> Option<Kept> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.kept.iter().rev().find(|(known, ..)| known == id).map(|(.., kept)| kept.clone())
    }

    /// Forgets a response; false if it was not there.
    pub(super) fn remove(&self, id: &str) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = inner.kept.iter().position(|(known, ..)| known == id) else {
            return false;
        };
        if let Some((_, size, _)) = inner.kept.remove(place) {
            inner.bytes -= size;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_are_kept_within_both_bounds() {
        let kept = |size: usize| Kept { response: json!({}), messages: vec![Value::from("x".repeat(size))] };
        let store = Store::default();
        (0..=MAX_RESPONSES).for_each(|number| store.keep(&number.to_string(), kept(1)));
        assert!(store.get("0").is_none() && store.get("1").is_some());
        assert!(store.remove("1") && !store.remove("1"));
        store.keep("large", kept(MAX_BYTES - 100));
        assert!(store.get("large").is_some() && store.get("500").is_none());
        store.keep("too large", kept(MAX_BYTES));
        assert!(store.get("too large").is_none() && store.get("large").is_some());
    }
}
