//! The ordered key-value part of a checkpoint.

use std::collections::HashMap;

use super::error::CheckpointError;
use super::value::{Array, Value};

/// Metadata in file order, with typed access by key.
///
/// The typed getters return `Ok(None)` for an absent key and an error that names the key when the value is of another
/// kind. Integers of any width are accepted where they fit.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    file: String,
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// Empty metadata; `file` is the name used in messages.
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }

    /// The file that the metadata comes from, for messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Sets a key, replacing an earlier value but keeping its place. Returns the value that was there.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let key = key.into();
        match self.index.get(&key) {
            Some(&at) => self.entries.get_mut(at).map(|e| std::mem::replace(&mut e.1, value.into())),
            None => {
                self.index.insert(key.clone(), self.entries.len());
                self.entries.push((key, value.into()));
                None
            }
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).and_then(|&at| self.entries.get(at)).map(|(_, value)| value)
    }

    /// All entries in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A string.
    pub fn str(&self, key: &str) -> Result<Option<&str>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_kind(key, "a string", other)),
        }
    }

    /// An unsigned 32-bit integer.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, CheckpointError> {
        self.integer(key, "an unsigned 32-bit integer")
    }

    /// An unsigned 64-bit integer.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, CheckpointError> {
        self.integer(key, "an unsigned 64-bit integer")
    }

    /// A number.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f32() {
                Some(x) => Ok(Some(x)),
                None => Err(self.wrong_kind(key, "a number", value)),
            },
        }
    }

    /// A boolean.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(x)) => Ok(Some(*x)),
            Some(other) => Err(self.wrong_kind(key, "a boolean", other)),
        }
    }

    /// An array of strings.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::String(texts))) => Ok(Some(texts)),
            Some(other) => Err(self.wrong_kind(key, "an array of strings", other)),
        }
    }

    /// An array of 32-bit floats.
    pub fn f32s(&self, key: &str) -> Result<Option<&[f32]>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::F32(values))) => Ok(Some(values)),
            Some(other) => Err(self.wrong_kind(key, "an array of 32-bit floats", other)),
        }
    }

    /// An array of integers that fit 32 signed bits, whatever their width in the file.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>, CheckpointError> {
        let expected = "an array of 32-bit integers";
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value {
                Value::Array(Array::I32(values)) => Ok(Some(values.clone())),
                Value::Array(array) => array
                    .integers()
                    .and_then(|v| v.into_iter().map(|x| i32::try_from(x).ok()).collect())
                    .map(Some)
                    .ok_or_else(|| self.wrong_kind(key, expected, value)),
                other => Err(self.wrong_kind(key, expected, other)),
            },
        }
    }

    /// A string that must be there.
    pub fn require_str(&self, key: &str) -> Result<&str, CheckpointError> {
        self.str(key)?.ok_or_else(|| self.missing(key))
    }

    /// An unsigned 32-bit integer that must be there.
    pub fn require_u32(&self, key: &str) -> Result<u32, CheckpointError> {
        self.u32(key)?.ok_or_else(|| self.missing(key))
    }

    /// An unsigned 64-bit integer that must be there.
    pub fn require_u64(&self, key: &str) -> Result<u64, CheckpointError> {
        self.u64(key)?.ok_or_else(|| self.missing(key))
    }

    /// A number that must be there.
    pub fn require_f32(&self, key: &str) -> Result<f32, CheckpointError> {
        self.f32(key)?.ok_or_else(|| self.missing(key))
    }

    /// An array of strings that must be there.
    pub fn require_strings(&self, key: &str) -> Result<&[String], CheckpointError> {
        self.strings(key)?.ok_or_else(|| self.missing(key))
    }

    /// The error for a key that should have been there.
    pub fn missing(&self, key: &str) -> CheckpointError {
        CheckpointError::MissingKey { file: self.file.clone(), key: key.to_string() }
    }

    fn integer<T: TryFrom<i128>>(&self, key: &str, expected: &'static str) -> Result<Option<T>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_integer().and_then(|x| T::try_from(x).ok()) {
                Some(x) => Ok(Some(x)),
                None => Err(self.wrong_kind(key, expected, value)),
            },
        }
    }

    fn wrong_kind(&self, key: &str, expected: &'static str, found: &Value) -> CheckpointError {
        CheckpointError::WrongKind { file: self.file.clone(), key: key.to_string(), expected, found: found.describe() }
    }
}
