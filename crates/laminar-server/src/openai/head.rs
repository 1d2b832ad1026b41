//! The fields that begin every response object.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use serde_json::{Value, json};

use crate::state::unix_seconds;

/// Id, time and model of one response; the same in all its chunks.
#[derive(Debug, Clone)]
pub struct Head {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
}

impl Head {
    /// A new head with a random id such as `chatcmpl-0123456789abcdef0123456789abcdef`.
    pub fn new(prefix: &str, object: &'static str, model: &str) -> Head {
        Head {
            id: format!("{prefix}-{:016x}{:016x}", random(), random()),
            object,
            created: unix_seconds(),
            model: model.to_owned(),
        }
    }

    /// A response object with these choices.
    pub fn with_choices(&self, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": concat!("laminar-", env!("CARGO_PKG_VERSION")),
            "choices": choices,
        })
    }
}

/// 64 random bits. The standard library seeds its hashers from the operating system; ids need to be
/// distinct, not secret, so that is enough.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| Head::new("x", "y", "z").id).collect();
        assert_eq!(ids.len(), 1000);
    }
}
